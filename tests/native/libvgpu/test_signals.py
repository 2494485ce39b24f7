"""Signal handlers that use CUDA are the program, also while their thread is in a call of the driver."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1")


@pytest.mark.parametrize("call", ["stream", "context"])
def test_what_a_handler_allocates_is_counted_and_held_to_the_limit(
    machine: Machine, compiled: Callable[..., Path], call: str
) -> None:
    program = compiled("signals", *LINKED)
    bare = machine.without_libvgpu().attempt(program, call, CUDA_VISIBLE_DEVICES="0")
    assert bare.stdout.split()[:2] == ["32", "0"], "the driver alone doesn't mind"
    done = machine.run(program, call, CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="2g")
    count, answer, left, back = map(int, done.stdout.split())
    assert (count, answer) == (6, 2)
    assert left == back - 6 * 256
