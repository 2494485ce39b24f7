"""What goes into an image, read from its Dockerfile and .dockerignore."""

from pathlib import Path

import pytest

from cluster import dockerfile, dockerignore, errors

DOCKERFILE = """\
# a comment
ARG BASE=debian
FROM ${BASE} AS packages
COPY lock /tmp/lock
RUN install \\
    --all
FROM packages AS code
COPY . /src
FROM ${BASE} AS services
COPY --from=code /src /app
FROM ${BASE} AS probe
COPY build/probe /probe
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / ".dockerignore").write_text("*\n!lock\n!code\n!build\nbuild/*\n!build/probe\n**/__pycache__\n")
    for file in ("lock", "code/a.py", "code/__pycache__/a.pyc", "build/probe", "build/big", "secret", "docs/x/code"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    return tmp_path


def test_a_target_s_inputs_are_what_its_stages_copy_and_nothing_that_is_ignored(context: Path) -> None:
    lines, files = dockerfile.inputs(context / "Dockerfile", "services")
    assert {str(file.relative_to(context)) for file in files} == {"lock", "code/a.py", "build/probe"}
    assert "COPY build/probe /probe" not in lines
    assert "RUN install      --all" in lines


def test_another_target_s_inputs_are_its_own(context: Path) -> None:
    _, files = dockerfile.inputs(context / "Dockerfile", "probe")
    assert files == [context / "build/probe"]


def test_a_file_that_is_not_there_is_named(context: Path) -> None:
    (context / "lock").unlink()
    with pytest.raises(errors.BuildFailed, match="copies lock, which doesn't exist"):
        dockerfile.inputs(context / "Dockerfile", "services")


def test_an_unknown_target_is_named(context: Path) -> None:
    with pytest.raises(errors.BuildFailed, match="no stage 'exporter'"):
        dockerfile.inputs(context / "Dockerfile", "exporter")


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("secret", True),
        ("lock", False),
        ("code", False),
        ("code/deep/er.py", False),
        ("code/__pycache__", True),
        ("code/__pycache__/a.pyc", True),
        ("build", False),
        ("build/big", True),
        ("build/probe", False),
        ("docs/x/code", True),
    ],
)
def test_the_last_rule_that_matches_decides(context: Path, path: str, left_out: bool) -> None:
    assert dockerignore.load(context).left_out(path) is left_out


def test_folders_without_anything_to_see_are_not_visited(context: Path) -> None:
    rules = dockerignore.load(context)
    assert rules.barren("docs")
    assert not rules.barren("build")
