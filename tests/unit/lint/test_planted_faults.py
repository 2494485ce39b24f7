"""Each check of `make lint` passes a clean project and fails on a planted fault.

The project here has the real Makefile, configuration and checks, and a few small files in place of the sources.
"""

import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COPIED = ("Makefile", "make", "lint", "pyproject.toml", ".clang-format")
PACKAGES = (
    *tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"],
    *("webhook/admission", "webhook/limits", "webhook/tls", "webhook/translation"),
)
SOURCES = {
    **{f"{package}/__init__.py": f'"""Stands for {package}."""\n' for package in PACKAGES if package not in COPIED},
    "webhook/app.py": '"""Stands for a module that translation doesn\'t import."""\n',
    "webhook/settings.py": '"""Stands for a module that translation doesn\'t import."""\n',
    "webhook/translation/pods.py": '"""Stands for a module that the command line imports."""\n',
    "cli/translate.py": "from webhook.translation import pods\n\n__all__ = ['pods']\n".replace("'", '"'),
    "libvgpu/base/log.h": "void log_write(int level);\n",
    "libvgpu/hooks/hooks.h": "void hooks_begin(void);\n",
    "simulator/state/state.h": "void state_open(void);\n",
    "simulator/cuda/core/op.h": "void op_begin(void);\n",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One file with a fault that one check finds."""

    check: str
    """Part of the check's command."""
    path: str
    text: str
    said: str
    """Part of what the check says."""


_MISSPELT = "t" + "eh"
FAULTS = (
    Fault("ruff format", "unigpu/fault.py", "NUMBERS = [1,2]\n", "unigpu/fault.py"),
    Fault("clang-format", "libvgpu/base/fault.h", "int   fault(void);\n", "libvgpu/base/fault.h"),
    Fault("ruff check", "unigpu/fault.py", "import json\n", "F401"),
    Fault("mypy", "unigpu/fault.py", 'NUMBER: int = "one"\n', "unigpu/fault.py:1: error"),
    Fault("lint-imports", "unigpu/fault.py", "import webhook\n", "unigpu.fault -> webhook"),
    Fault("lint.include_order", "libvgpu/base/fault.h", '#include "libvgpu/hooks/hooks.h"\n', "hooks lies above base"),
    Fault("codespell", "docs.md", f"Say {_MISSPELT}.\n", f"{_MISSPELT} ==> the"),
    Fault("lint.retired", "unigpu/fault.py", '"""Reads the file anew."""\n', "anew: write again"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for path, text in SOURCES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    run(folder, ["git", "init", "-q"])
    return folder


@pytest.fixture
def planted(project: Path, request: pytest.FixtureRequest) -> Iterator[Fault]:
    fault: Fault = request.param
    file = project / fault.path
    file.write_text(fault.text)
    yield fault
    file.unlink()


def test_every_check_passes_the_clean_project(project: Path) -> None:
    for name, command in checks(project).items():
        done = run(project, command)
        assert done.returncode == 0, f"{name}: {done.stdout}"


def test_every_check_has_a_planted_fault(project: Path) -> None:
    assert sorted(checks(project)) == sorted(fault.check for fault in FAULTS)


@pytest.mark.parametrize("planted", FAULTS, ids=lambda fault: fault.check, indirect=True)
def test_a_planted_fault_is_found(project: Path, planted: Fault) -> None:
    done = run(project, checks(project)[planted.check])
    assert done.returncode != 0
    assert planted.said in done.stdout


def checks(project: Path) -> Mapping[str, list[str]]:
    """Return the commands of `make lint` by the check that they are."""
    run(project, ["git", "add", "--all", "."])
    printed = run(project, ["make", "--dry-run", "--assume-old=.venv/.ready", "lint"]).stdout
    found = {}
    for line in printed.splitlines():
        (name,) = {fault.check for fault in FAULTS if fault.check in line} or {line}
        found[name] = shlex.split(line)
    return found


def run(project: Path, command: list[str]) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "MAKE", "PYTEST_"))}
    return subprocess.run(
        command, cwd=project, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
