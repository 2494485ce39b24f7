"""Follow a page of step-by-step changes in a copy of the project, block by block."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.unit.docs.pages import ROOT

PAGE = ROOT / "docs/contributing/examples.md"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_STEP = re.compile(r"^`([\w./-]+)`[^\n]*:$|^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCES = shutil.ignore_patterns("build", ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")


@dataclass(frozen=True, slots=True)
class Step:
    """One block of the page."""

    language: str
    path: str
    """The file that was named last before it; empty: none since the section began."""
    text: str


def sections() -> dict[str, str]:
    """Return the page's sections by their titles."""
    _, *parts = _SECTION.split(PAGE.read_text())
    return dict(zip(parts[::2], parts[1::2], strict=True))


def steps(section: str) -> list[Step]:
    """Return the blocks of a section in their order."""
    text = sections()[section]
    found, path = [], ""
    for named, language, block in _STEP.findall(text):
        if named:
            path = named
        else:
            found.append(Step(language, path, block))
    return found


def created() -> set[str]:
    """Return the files that readers of the page make."""
    return {step.path for section in sections() for step in steps(section) if step.language not in ("diff", "sh")}


def copy(folder: Path) -> Path:
    """Copy the project's sources into the folder, with this checkout's Python environment."""
    shutil.copytree(ROOT, folder, ignore=SOURCES, dirs_exist_ok=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("pyproject.toml", "requirements-dev.lock"):
        os.utime(folder / name, (0, 0))  # make takes the environment for current
    return folder


def write(project: Path, step: Step) -> None:
    """Make the file of a block, or edit it. Fails where the edit has not exactly one place."""
    file = project / step.path
    if step.language != "diff":
        assert not file.exists(), f"{step.path} is there already"
        file.write_text(step.text)
        return
    lines = step.text.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = file.read_text()
    assert text.count(before) == 1, f"{step.path} has {text.count(before)} places for this edit:\n{step.text}"
    file.write_text(text.replace(before, after))


def run(project: Path, step: Step) -> str:
    """Run a block of commands, each of which must succeed; return what they said."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MAKE"))}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.text],
        cwd=project,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{step.text}\n{done.stdout}"
    return done.stdout


def follow(section: str, project: Path, *, without: str = "never") -> list[str]:
    """Do all that a section says, but for blocks of commands that name `without`; return what the commands said."""
    said = []
    for step in steps(section):
        if step.language != "sh":
            write(project, step)
        elif without not in step.text:
            said.append(run(project, step))
    return said
