"""The workflows and the hooks of a commit run what exists."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CI = ROOT / ".github/workflows/ci.yml"


def steps() -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(CI.read_text())["jobs"].values() for step in job["steps"]]


def targets() -> set[str]:
    makefiles = [ROOT / "Makefile", *(ROOT / "make").glob("*.mk")]
    return set(re.findall(r"^([a-zA-Z0-9_-]+):", "\n".join(file.read_text() for file in makefiles), re.MULTILINE))


def test_every_kind_of_check_is_a_job() -> None:
    assert set(yaml.safe_load(CI.read_text())["jobs"]) == {"lint", "unit", "native", "chart", "cluster"}


def test_jobs_make_what_can_be_made() -> None:
    commands = [step["run"] for step in steps() if step.get("run", "").startswith("make ")]
    assert commands
    assert {target for command in commands for target in command.split()[1:]} <= targets()


def test_jobs_test_what_is_there() -> None:
    commands = [step["run"] for step in steps() if "pytest" in step.get("run", "")]
    paths = [word for command in commands for word in command.split() if word.startswith("tests/")]
    assert paths and all((ROOT / path).exists() for path in paths)
    assert {path.split("/")[1] for path in paths} | {"unit"} == {
        folder.name for folder in (ROOT / "tests").iterdir() if folder.is_dir() and any(folder.rglob("test_*.py"))
    }


def test_actions_are_pinned_by_major_version_and_the_token_only_reads() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used)
    assert yaml.safe_load(CI.read_text())["permissions"] == {"contents": "read"}


def test_hooks_use_the_projects_own_tools() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, *words = hook["entry"].split()
        assert hook["language"] == "system"
        assert words[0] in targets() if program == "make" else (ROOT / program).exists()
