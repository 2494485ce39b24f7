"""The child of a fork: an answer at once from a driver that is its parent's, and limits on one that it starts itself."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.native.libvgpu.machine import Machine

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1", "-l:libnvidia-ml.so.1")
FORKS = 1000 if os.environ.get("UNIGPU_SOAK") else 60


def test_a_child_of_a_process_that_used_cuda_is_answered_at_once(
    machine: Machine, compiled: Callable[..., Path]
) -> None:
    trial = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_LIMIT_0": "4g"}
    program = compiled("forks", *LINKED)
    done = replace(machine, timeout=600).attempt(program, str(FORKS), "used", **trial)
    assert (done.returncode, done.stdout) == (0, f"{FORKS} forks, last call 0\n"), done.stderr


def test_a_child_that_starts_cuda_itself_is_limited(machine: Machine, compiled: Callable[..., Path]) -> None:
    trial = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_LIMIT_0": "2g"}
    program = compiled("forks", *LINKED)
    done = replace(machine, timeout=600).attempt(program, str(FORKS), "fresh", **trial)
    assert (done.returncode, done.stdout) == (0, f"{FORKS} forks, last call 0\n"), done.stderr
