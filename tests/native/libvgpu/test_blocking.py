"""No lock is held while the driver waits: a program whose threads wait for each other through the GPU ends."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1")
LIMITED = {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_MEMORY_LIMIT": "3g"}
ROUNDS = 4 if os.environ.get("UNIGPU_SOAK") else 1


@pytest.mark.parametrize("held", ["launch", "destroy", "reset", "free"])
def test_calls_pass_one_that_waits_for_the_gpu(machine: Machine, compiled: Callable[..., Path], held: str) -> None:
    program = compiled("blocking", *LINKED)
    bare = machine.without_libvgpu().attempt(program, held, CUDA_VISIBLE_DEVICES="0,1")
    assert (bare.returncode, bare.stdout) == (0, "ended\n"), "the driver alone doesn't hold the calls up"
    for _ in range(ROUNDS):
        done = machine.attempt(program, held, **LIMITED)
        assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
