"""Run the programs that build a release, and show what they printed when one fails."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from release.errors import ReleaseError

LINES = 30
"""Lines of a failed program's output that an error shows."""

PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-readelf": "binutils-aarch64-linux-gnu",
    "mmdebstrap": "mmdebstrap",
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
    "readelf": "binutils",
    "make": "make",
    "skopeo": "skopeo",
    "docker-registry": "docker-registry",
    "qemu-aarch64-static": "qemu-user-static",
    "helm": "helm",
}
"""Program → Debian package that has it."""


def require(*programs: str) -> None:
    """Check that programs are installed. Raises ReleaseError with the command that installs the missing ones."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES.get(program, program) for program in missing}))
        raise ReleaseError(f"missing: {', '.join(missing)}; on Debian, `apt-get install {packages}` brings them")


def run(command: Sequence[str], folder: pathlib.Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what it printed. Raises ReleaseError with the last lines of a failed one."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-LINES:])
        raise ReleaseError(f"`{' '.join(command[:4])} …` ended with status {done.returncode}:\n{tail}")
    return done.stdout
