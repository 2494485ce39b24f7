"""Forks: an answer at once from a driver that is the parent's, and one account for a program and what it starts."""

import json
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import PROBE, ROOT, Machine
from unigpu import names

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


STARTS = """
import json, os, subprocess, sys
os.setsid()
probe, inherit, cut = sys.argv[1], sys.argv[2] == "inherit", sys.argv[2] == "orphan"
hold = [probe, "--no-take", "--hold", "1000", "--stay"]
if cut:
    hold = ["sh", "-c", '"$@" & wait', "sh", *hold]
first = subprocess.Popen(hold, close_fds=not inherit, stdout=subprocess.PIPE)
first.stdout.readline()
if sys.argv[2] == "exec":
    os.execv(probe, [probe])
second = subprocess.run([probe], close_fds=not inherit, stdout=subprocess.PIPE)
sys.stdout.write(second.stdout.decode())
"""


def test_forked_workers_share_one_account(machine: Machine, compiled: Callable[..., Path]) -> None:
    """As Gunicorn and multiprocessing start them: the parent itself never uses CUDA."""
    program = compiled("forks", *LINKED)
    limited = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_LIMIT_0": "3g"}
    assert machine.run(program, "3", "workers", **limited).stdout == "2\n"
    assert machine.run(program, "3", "workers", CUDA_VISIBLE_DEVICES="0").stdout == "3\n"


@pytest.mark.parametrize("way", ["inherit", "closed", "exec", "orphan"])
def test_programs_that_a_program_starts_share_its_account(machine: Machine, way: str) -> None:
    """Whether they inherit its descriptors, or find them in an ancestor."""
    (alone,) = machine.probe(CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="3000m")
    context = 3000 - int(alone["taken_mib"])
    python = ROOT / ".venv/bin/python"
    process = machine.start(
        *(python, "-c", STARTS, PROBE, way), CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="3000m"
    )
    try:
        assert process.stdout is not None
        (gpu,) = json.loads(process.stdout.readline())["gpus"]
        assert gpu["taken_mib"] == 3000 - 1000 - 2 * context
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_shared_account_is_for_all_users(machine: Machine) -> None:
    cache = machine.folder / "cache"
    shared = {names.ENV_SHARED_CACHE: str(cache), "CUDA_DEVICE_MEMORY_LIMIT": "1g", "CUDA_VISIBLE_DEVICES": "0"}
    machine.run("sh", "-c", f"umask 077; {PROBE} --no-take", **shared)
    assert cache.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("named", [True, False])
def test_a_limit_on_file_sizes_refuses_memory_and_ends_nothing(machine: Machine, named: bool) -> None:
    limited = {"CUDA_DEVICE_MEMORY_LIMIT": "1g", "CUDA_VISIBLE_DEVICES": "0"}
    if named:
        limited[names.ENV_SHARED_CACHE] = str(machine.folder / "cache")
    done = machine.attempt("prlimit", f"--fsize={resource.getpagesize()}", PROBE, **limited)
    assert done.returncode == 1
    assert "File too large (see `ulimit -f`): GPU memory is refused" in done.stderr
    assert "CUDA_ERROR_OUT_OF_MEMORY" in done.stderr
