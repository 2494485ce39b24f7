"""Processes killed at any instruction cost nobody anything: no byte over the limit, none left behind, nobody waits.

`UNIGPU_SOAK=1` (`make soak`) asks for the long forms.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from unigpu import names

LONG = os.environ.get("UNIGPU_SOAK") == "1"
RECOVERY_NS = 10_000_000
ACCOUNT = [
    *(f"libvgpu/{part}.c" for part in ("account", "change", "usage_file", "process", "message", "ground", "linker")),
    "-Wl,-z,now",
]


def run(program: Path, folder: Path, *words: object, timeout: float = 60) -> list[str]:
    environment = os.environ | {names.ENV_TRIAL_USAGE: str(folder / "usage")}
    done = subprocess.run(
        [program, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout * (100 if LONG else 1),
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.split()


@pytest.mark.parametrize(
    ("operation", "first", "stride", "last"),
    [("change", 1, 17, 3000), ("refuse", 2, 29, 300), ("claim", 5, 401, 2400), ("bury", 7, 401, 2400)],
)
def test_killed_after_any_number_of_instructions(
    compiled: Callable[..., Path], tmp_path: Path, operation: str, first: int, stride: int, last: int
) -> None:
    if LONG:
        first, stride, last = 0, 1 if operation in ("change", "refuse") else 13, 20000
    killed, length, median, _ = run(compiled("stepkill", *ACCOUNT), tmp_path, operation, first, stride, last)
    assert int(killed) > 5
    assert operation != "change" or int(length) > 100, "the operation's end was reached, and all of it was stepped"
    assert int(median) < RECOVERY_NS


@pytest.mark.parametrize("seed", [1, 2])
def test_processes_race_and_are_killed(compiled: Callable[..., Path], tmp_path: Path, seed: int) -> None:
    rounds, kills = (1_000_000, 10_000) if LONG else (60_000, 40)
    said = run(compiled("race", *ACCOUNT), tmp_path, 16, rounds, kills, seed)
    figures = dict(zip(said[::2], map(int, said[1::2]), strict=True))
    assert figures["rounds"] >= rounds
    assert figures["refused"] > 0, "they did meet the limit"
    assert figures["killed"] > 0
    assert (figures["over"], figures["left"]) == (0, 0)
