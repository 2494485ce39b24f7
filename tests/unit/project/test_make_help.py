"""`make help` is the index: every described target once, in a group, and plain text in a pipe."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
GROUPS = "Start here", "Develop", "Test", "Local cluster", "Benchmarks", "Release"
TARGET = re.compile(r"^([a-zA-Z0-9_.-]+):.*## (.+)$", re.MULTILINE)


def help_text(**environment: str) -> str:
    """Return what `make help` writes to a pipe."""
    done = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def help_on_a_terminal(**environment: str) -> str:
    """Return what `make help` writes to a terminal."""
    master, terminal = os.openpty()
    with os.fdopen(master, "rb", buffering=0) as reader:
        with os.fdopen(terminal, "wb") as writer:
            process = subprocess.Popen(["make", "-s", "help"], cwd=ROOT, env=os.environ | environment, stdout=writer)
        pieces = []
        try:
            while piece := reader.read(65536):
                pieces.append(piece)
        except OSError:  # Linux: the last writer has closed the terminal
            pass
        assert process.wait() == 0
    return b"".join(pieces).decode()


def described() -> dict[str, str]:
    """Return each target that a makefile describes, with its description."""
    files = [ROOT / "Makefile", *sorted((ROOT / "make").glob("*.mk"))]
    found = [match for file in files for match in TARGET.findall(file.read_text())]
    assert max(Counter(name for name, _ in found).values()) == 1
    return dict(found)


def test_every_described_target_is_listed_once() -> None:
    listed = re.findall(r"^  (\S+) +(.+)$", help_text(), re.MULTILINE)
    assert sorted(listed) == sorted(described().items())


def test_every_target_is_in_a_group() -> None:
    titles = [line for line in help_text().splitlines() if line and not line.startswith(" ")]
    assert tuple(titles[: len(GROUPS)]) == GROUPS
    assert len(titles) == len(set(titles))
    assert "Other" not in titles


def test_a_pipe_gets_plain_text() -> None:
    assert "\x1b" not in help_text()


def test_a_terminal_gets_bold_names_unless_colour_is_off() -> None:
    assert "\x1b[1m" in help_on_a_terminal(NO_COLOR="")
    assert "\x1b" not in help_on_a_terminal(NO_COLOR="1")
