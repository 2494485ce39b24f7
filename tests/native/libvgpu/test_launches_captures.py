"""No event of libvgpu spoils a capture of the program, whatever its mode."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1", "-lpthread")


@pytest.fixture
def captures(compiled: Callable[..., Path]) -> Path:
    return compiled("captures", *LINKED)


def counts(machine: Machine, captures: Path, *words: str) -> dict[str, int]:
    said = machine.run(captures, *words, CUDA_DEVICE_SM_LIMIT="90", CUDA_VISIBLE_DEVICES="0").stdout.split()
    return {name: int(number) for name, number in zip(said[::2], said[1::2], strict=True)}


@pytest.mark.parametrize("mode", ["0", "1", "2", "3"])
def test_captures_next_to_launches_are_whole(machine: Machine, captures: Path, mode: str) -> None:
    assert counts(machine, captures, mode, "3000") == {"captures": 3000, "spoiled": 0, "failed": 0}


def test_a_query_by_the_program_itself_spoils_them(machine: Machine, captures: Path) -> None:
    assert counts(machine, captures, "0", "1000000", "ask")["spoiled"] > 0, "the rule holds on this machine"
