"""The source of a release: the last commit, exported, and the time and version that go into every file."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import tarfile
import tomllib

from release.errors import ReleaseError

ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An exported commit."""

    folder: pathlib.Path
    version: str
    """`project.version` of pyproject.toml."""
    commit: str
    epoch: int
    """Time of the commit in seconds since 1970: the time of every file in a release, so that two builds are equal."""


def last_commit() -> str:
    """Return the commit that a release is made of. Raises ReleaseError if this isn't a git checkout."""
    return _git("rev-parse", "HEAD")


def export(into: pathlib.Path, commit: str) -> Source:
    """Export a commit into a new folder. Raises ReleaseError if this isn't a git checkout."""
    into.mkdir(parents=True)
    archive = into.with_name(f"{into.name}.tar")
    _git("archive", "--format=tar", f"--output={archive}", commit)
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="tar")
    archive.unlink()
    epoch = _git("log", "-1", "--format=%ct", commit)
    project = tomllib.loads((into / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Source(into, project["version"], commit, int(epoch))


def uncommitted() -> list[str]:
    """Return the paths of changed files, which a release leaves out."""
    return [line[3:] for line in _git("status", "--porcelain").splitlines()]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise ReleaseError(
            f"`git {arguments[0]}` failed: {done.stderr.strip()}; a release is built from a git checkout"
        )
    return done.stdout.strip("\n")
