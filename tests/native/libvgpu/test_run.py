"""`kubectl unigpu run` on a simulated machine: held, counted, ended, and nothing left behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import LIBRARY, PROBE, ROOT, Machine


def run(machine: Machine, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a person would, in a folder for temporary files of its own."""
    temporary = machine.folder / "temporary"
    temporary.mkdir(exist_ok=True)
    done = machine.without_libvgpu().attempt(
        sys.executable, "-m", "cli", "run", *arguments, TMPDIR=str(temporary), PYTHONPATH=str(ROOT), **environment
    )
    assert list(temporary.iterdir()) == []
    return done


def test_a_program_is_held_to_its_memory(machine: Machine) -> None:
    done = run(machine, "--memory", "1Gi", "--gpus", "2", "--summary", "--", str(PROBE), "--step", "64")
    assert done.returncode == 0
    (gpu,) = json.loads(done.stdout)["gpus"]
    assert gpu["total_bytes"] == 1 << 30 and gpu["error"] == "CUDA_ERROR_OUT_OF_MEMORY"
    assert "of 1024 MiB at most, 1 allocations refused" in done.stderr


def test_what_it_starts_shares_the_limit(machine: Machine) -> None:
    hold = f"{PROBE} --no-take --hold 512 --seconds 20 >/dev/null & sleep 3; {PROBE} --step 64; kill $!"
    done = run(machine, "--memory", "3Gi", "--gpus", "0", "--", "sh", "-c", hold)
    (gpu,) = json.loads(done.stdout)["gpus"]
    assert gpu["taken_mib"] < 3072 - 512, done.stderr


def test_an_outer_limit_is_replaced_and_other_variables_stay(machine: Machine) -> None:
    show = "echo $CUDA_DEVICE_MEMORY_LIMIT $CUDA_DEVICE_MEMORY_LIMIT_0 $CUDA_DEVICE_SM_LIMIT $MINE $LD_PRELOAD"
    outer = {"CUDA_DEVICE_MEMORY_LIMIT_0": "1m", "CUDA_DEVICE_SM_LIMIT": "1", "MINE": "kept"}
    done = run(machine, "--memory", "2Gi", "--", "sh", "-c", show, **outer)
    assert done.stdout.split() == ["2048m", "kept", str(LIBRARY)]


@pytest.mark.parametrize(
    ("command", "status"), [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["no-such-program"], 127)]
)
def test_the_exit_status_is_the_programs(machine: Machine, command: list[str], status: int) -> None:
    assert run(machine, "--cores", "20", "--", *command).returncode == status


def test_a_program_that_uses_no_gpu_is_said(machine: Machine) -> None:
    assert "used no GPU" in run(machine, "--cores", "20", "--summary", "--", "true").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--", "true"], "accepted: --memory, --cores or both"),
        (["--cores", "5", "--library", "/nowhere.so", "--", "true"], "accepted: the path of libvgpu.so"),
        (["--cores", "101", "--", "true"], "accepted: 1 to 100"),
        (["--memory", "much", "--", "true"], "accepted: 4096, 4Gi"),
        (["--memory", "0", "--", "true"], "accepted: 4096, 4Gi"),
        (["--cores", "5", "--gpus", "0;1", "--", "true"], "accepted: 0 or 0,2"),
        (["--cores", "5"], "required: PROGRAM"),
    ],
)
def test_wrong_arguments(machine: Machine, arguments: list[str], said: str) -> None:
    done = run(machine, *arguments)
    assert done.returncode in (1, 2) and said in done.stderr and done.stdout == ""


def test_a_request_to_end_reaches_the_program(machine: Machine, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 3' TERM; touch {ready}; while true; do sleep 0.1; done"
    command = [sys.executable, "-m", "cli", "run", "--cores", "20", "--", "sh", "-c", script]
    process = subprocess.Popen(command, cwd=ROOT, env=machine.without_libvgpu().environment())
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3
