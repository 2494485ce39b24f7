"""Debian packages: what is said of them, with an apt-get that is a script."""

import os
from pathlib import Path

import pytest

from cluster import doctor
from demo import packages

ABSENT = doctor.Package("no-such-package", "no-such-program", "the test can't do without it")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that stands for apt-get; it records its arguments in the file `asked`."""
    program = tmp_path / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return program


def test_what_can_not_be_installed_is_named(apt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2; exit 100\n")
    assert packages.install([ABSENT]) == 1
    said = capfd.readouterr()
    assert "Can't install Debian packages (no-such-package)" in said.out
    assert "Unable to locate package" in said.err


def test_a_package_whose_program_does_not_come_is_named(apt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert packages.install([ABSENT]) == 1
    assert "apt-get install --reinstall no-such-package" in capfd.readouterr().out


def test_lists_that_can_not_be_fetched_do_not_matter(apt: Path, tmp_path: Path) -> None:
    """A mirror may be broken for something else; what counts is whether the packages come."""
    apt.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f"[ $1 = update ] && exit 100\nprintf '#!/bin/sh\\n' > {tmp_path}/no-such-program\n"
        f"chmod +x {tmp_path}/no-such-program\n"
    )
    assert packages.install([ABSENT]) == 0
    assert "no-such-package" in (tmp_path / "asked").read_text().splitlines()[-1]


def test_a_compiler_for_another_processor_comes_with_its_library() -> None:
    """Debian only recommends the headers, and `install` takes no recommendations: without them nothing compiles."""
    named = {package.name for package in packages.RELEASE}
    compilers = {name for name in named if name.startswith("gcc-")}
    assert compilers == {"gcc-aarch64-linux-gnu"} and "libc6-dev-arm64-cross" in named
