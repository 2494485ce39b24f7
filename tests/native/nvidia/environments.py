"""Lay out what suites need: a Python environment each, a checkout's folders, built Go programs."""

import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.native.nvidia.suites import Suite


class NotAvailable(Exception):
    """Raised when a suite can't run here; the text says what is missing."""


def python(suite: Suite, folder: Path) -> Path:
    """Return the interpreter of the suite's environment, made again when its packages changed."""
    home, ready = folder / "python", folder / "python" / ".packages"
    wanted = "\n".join(suite.packages)
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(home, with_pip=True, clear=True)
        done = subprocess.run(
            [home / "bin" / "python", "-m", "pip", "install", "--quiet", *suite.packages],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NotAvailable(f"pip: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")
        ready.write_text(wanted)
    return home / "bin" / "python"


def tests(suite: Suite, folder: Path, checkout: Path | None) -> Path:
    """Return the folder of the suite's tests."""
    if suite.installed:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return folder / "python" / "lib" / version / "site-packages" / suite.installed
    assert suite.checkout
    if checkout is None:
        raise NotAvailable(f"no package ships its tests; name a checkout that has {suite.checkout.ref}: TESTS=DIR")
    return _unpack(suite, folder / "checkout", checkout)


def _unpack(suite: Suite, target: Path, checkout: Path) -> Path:
    """Write the suite's folders of the checkout as they were at its commit."""
    assert suite.checkout
    git = ["git", "-c", "safe.directory=*", "-C", str(checkout)]
    named = subprocess.run(
        [*git, "rev-parse", "--verify", "--quiet", f"{suite.checkout.ref}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if named.returncode:
        raise NotAvailable(f"{checkout} has no {suite.checkout.ref}")
    commit, ready = named.stdout.strip(), target / ".commit"
    if not ready.exists() or ready.read_text() != commit:
        target.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run([*git, "archive", commit, *suite.checkout.folders], capture_output=True, check=False)
        if packed.returncode:
            raise NotAvailable(f"{checkout}: {packed.stderr.decode().strip()}")
        subprocess.run(["tar", "-x", "-C", str(target)], input=packed.stdout, check=True)
        ready.write_text(commit)
    return target / suite.checkout.tests


def go_programs(suite: Suite, folder: Path) -> list[Path]:
    """Return the suite's Go programs, built."""
    assert suite.go
    settings = os.environ | {"GOBIN": str(folder.absolute() / "bin"), "GOFLAGS": "-modcacherw"}
    place = f"{suite.go.module}/{suite.go.examples}/...@{suite.go.version}"
    try:
        done = subprocess.run(["go", "install", place], env=settings, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotAvailable("go is missing") from None
    if done.returncode:
        raise NotAvailable(f"go install: {done.stderr.strip()[-200:]}")
    return sorted((folder / "bin").iterdir())
