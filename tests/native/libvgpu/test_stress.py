"""Everything at once: threads that capture, launch, allocate, ask and end contexts harm each other no more than without
libvgpu. `UNIGPU_SOAK=1` (`make soak-stress`) asks for the long forms."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1", "-l:libnvidia-ml.so.1")
LONG = os.environ.get("UNIGPU_SOAK") == "1"
CAPTURES = 100_000 if LONG else 1_500
LAUNCHES = 10_000 if LONG else 2_500
LIMITED = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_LIMIT": "4g", "CUDA_DEVICE_SM_LIMIT": "90"}


@pytest.fixture
def stress(machine: Machine, compiled: Callable[..., Path]) -> Callable[..., dict[str, int]]:
    """What the program says, by name; one that hangs is ended by its own alarm."""

    def run(*words: object) -> dict[str, int]:
        program = compiled("stress", *LINKED)
        said = replace(machine, timeout=3000).run(program, *map(str, words), **LIMITED).stdout
        print(f"\n{' '.join(map(str, words))}: {said.strip()}")
        each = said.split()
        return dict(zip(each[::2], map(int, each[1::2]), strict=True))

    return run


@pytest.mark.parametrize("mode", ["0", "1", "2", "3"])
def test_no_capture_is_spoiled(stress: Callable[..., dict[str, int]], mode: str) -> None:
    figures = stress("captures", mode, CAPTURES)
    assert (figures["spoiled"], figures["all"]) == (0, 1)


def test_launches_into_a_full_queue_end(stress: Callable[..., dict[str, int]]) -> None:
    figures = stress("queue", LAUNCHES)
    assert figures["all"] == 1
