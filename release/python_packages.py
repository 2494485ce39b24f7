"""Python packages of an image: wheels for its processor, unpacked and compiled, without running anything of it."""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Sequence

from release.errors import ReleaseError
from release.native import MACHINES
from release.run import run

VERSION = (3, 11)
"""Python of the base image."""
GLIBC = range(36, 16, -1)
"""Minor versions of glibc whose wheels run on the base image, newest first."""


def install(requirements: pathlib.Path, architecture: str, into: pathlib.Path, at: str) -> None:
    """Unpack the pinned wheels into a folder that will be at the path `at` of the image. Raises ReleaseError."""
    if sys.version_info[:2] != VERSION:
        have, need = ".".join(map(str, sys.version_info[:2])), ".".join(map(str, VERSION))
        raise ReleaseError(f"Python {have} builds code that the image's Python {need} can't load; run Python {need}")
    machine = MACHINES[architecture]
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC]
    tags = "".join(map(str, VERSION))
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--require-hashes", "--only-binary=:all:", "--no-compile", f"--target={into}", f"-r{requirements}"),
        *(f"--python-version={'.'.join(map(str, VERSION))}", "--implementation=cp", f"--abi=cp{tags}", "--abi=abi3"),
        *("--abi=none", *platforms, f"--platform=manylinux2014_{machine}"),
    ]
    run(command, requirements.parent)
    compile_all(into, at)


def compile_all(folder: pathlib.Path, at: str) -> None:
    """Compile a folder's modules; the code names the path `at`, and depends on no file's time."""
    mode = "--invalidation-mode=unchecked-hash"
    command: Sequence[str] = [sys.executable, "-m", "compileall", "-q", mode, "-s", str(folder), "-p", at, str(folder)]
    run(command, folder)


def pinned(requirements: str) -> dict[str, str]:
    """Return the version of each package of a lock file that pins by hash."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\]+)", requirements, re.MULTILINE))
