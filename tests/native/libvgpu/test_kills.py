"""Processes killed at any instruction harm no other: no byte over the limit, none left behind, no wait.

`UNIGPU_SOAK=1` (`make check-races`, `make soak`) asks for the long forms.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from unigpu import names

LONG = os.environ.get("UNIGPU_SOAK") == "1"
RECOVERY_NS = 10_000_000
ACCOUNT = [
    *(f"libvgpu/shared/{part}.c" for part in ("account", "slot_txn", "usage_file", "family_file", "process")),
    *(f"libvgpu/base/{part}.c" for part in ("config", "dl", "log")),
    "-Wl,-z,now",
]
STEPPING = "tests/native/libvgpu/programs/stepkill_step.c"


def run(program: Path, folder: Path, *words: object, timeout: float = 60) -> Mapping[str, int]:
    """The figures that the program says, by name."""
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
    said = done.stdout.split()
    return dict(zip(said[::2], map(int, said[1::2]), strict=True))


@pytest.mark.parametrize(
    ("operation", "stride"), [("change", 17), ("refuse", 997), ("claim", 401), ("inherit", 997), ("bury", 997)]
)
def test_killed_after_any_number_of_instructions(
    compiled: Callable[..., Path], tmp_path: Path, operation: str, stride: int
) -> None:
    stride, near = (1, 1) if LONG else (stride, 21)
    said = run(compiled("stepkill", STEPPING, *ACCOUNT), tmp_path, operation, stride, near, 1)
    print(f"\n{operation}: {said['instructions']} instructions with {said['contents']} contents of the file,", end=" ")
    print(f"{said['kills']} killed, 0 bytes over, 0 left behind; until others have what the dead had,", end=" ")
    print(f"processor time: median {said['median'] / 1000:.0f} µs, worst {said['worst'] / 1000:.0f} µs")
    assert said["instructions"] > 100, "the operation's end was reached, and all of it was stepped"
    assert said["contents"] > 1
    assert said["kills"] > 20
    assert said["median"] < RECOVERY_NS


@pytest.mark.parametrize("seed", [1, 2])
def test_processes_race_and_are_killed(compiled: Callable[..., Path], tmp_path: Path, seed: int) -> None:
    rounds, kills = (1_000_000, 10_000) if LONG else (60_000, 40)
    program = compiled("race", *ACCOUNT)
    control = run(program, tmp_path, 16, rounds, 0, seed)
    said = run(program, tmp_path, 16, rounds, kills, seed)
    print()
    for title, figures in ("without kills", control), (f"{said['killed']} kills", said):
        print(f"{figures['rounds']:,} rounds, {title}: {figures['over']} over, {figures['left']} left;", end=" ")
        print(f"longest call {figures['worst'] / 1e6:.1f} ms by the clock, {figures['longest'] / 1e6:.1f} ms", end=" ")
        print(f"of processor time; {figures['late']} calls above 10 ms by the clock")
    for part, title in (
        ("dying", "signal to the kernel's end of the process"),
        ("back", "from then until others have what it had"),
        ("look", "control: the same call when no process died"),
    ):
        print(f"{title}: median {said[part + '_median'] / 1000:.0f} µs, worst {said[part + '_worst'] / 1000:.0f} µs")
    assert said["rounds"] >= rounds
    assert said["refused"] > 0, "they did meet the limit"
    assert said["killed"] > 0
    assert (said["over"], said["left"]) == (0, 0)
    assert (control["over"], control["left"]) == (0, 0)
