"""Programs of others, in a container of 7,680 MiB: its limit, its memory, its processes, and no others."""

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT, SIMULATOR, Machine
from unigpu import names
from unigpu.units import GpuUuid

CLIENTS = ROOT / "build" / "clients"
PYTHON = CLIENTS / "python" / "bin"
SMI = CLIENTS / "debian" / "usr" / "lib" / "nvidia" / "current" / "nvidia-smi"
NVTOP = CLIENTS / "debian" / "usr" / "bin" / "nvtop"
PROGRAMS = Path(__file__).with_name("programs")
UNCHANGED = ROOT / "tests/native/simulator/programs"
LIMIT, TOTAL, HELD, CONTEXT = 7680, 24564, 1024, 362
HOLD = """
import ctypes, sys
cuda, context, pointer = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0 and cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(int(sys.argv[1]) << 20)) == 0
print("held", flush=True)
sys.stdin.readline()
"""
# The container's shell: the holder, then the program that is asked, then the holder's end.
INSIDE = """
mkfifo "$0.go" "$0.said" && exec 3<>"$0.go" 4<>"$0.said" || exit 9
"$HOLDER" -c "$HOLD" "$HELD" <&3 >&4 & read -r word <&4
"$@"; status=$?
echo >&3; wait; exit $status
"""
NVML_PY = """
import json, pynvml as n
n.nvmlInit()
device = n.nvmlDeviceGetHandleByIndex(0)
plain, later = n.nvmlDeviceGetMemoryInfo(device), n.nvmlDeviceGetMemoryInfo(device, version=n.nvmlMemory_v2)
processes = n.nvmlDeviceGetComputeRunningProcesses(device)
print(json.dumps([
    [plain.total >> 20, plain.used >> 20, plain.free >> 20], [later.total >> 20, later.used >> 20, later.free >> 20],
    [[each.pid, each.usedGpuMemory >> 20] for each in processes],
    len(n.nvmlDeviceGetGraphicsRunningProcesses(device)),
]))
"""


@pytest.fixture(scope="session", autouse=True)
def clients() -> None:
    """Fetched once; sessions of tests at the same time wait for each other."""
    with (SIMULATOR / ".clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "clients"], cwd=ROOT, check=True)


def machine_of(folder: Path, tmp_path: Path, *options: str) -> Machine:
    command: list[str | Path] = [
        ROOT / ".venv/bin/unigpu-sim",
        "create",
        "--dir",
        folder,
        "--profile",
        "rtx4090",
        "--gpus",
        "2",
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    plain = Machine(tmp_path, (), {names.ENV_SIM_DIR: str(folder)})
    listed = plain.without_libvgpu().attempt(PYTHON / "gpustat", "--json").stdout
    return Machine(tmp_path, [GpuUuid(gpu["uuid"]) for gpu in json.loads(listed)["gpus"]], plain.extra)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Two GPUs, and a driver of the version that the fetched nvidia-smi is of."""
    return machine_of(tmp_path / "machine", tmp_path, "--driver-version", "535.261.03", "--cuda-version", "12.2")


@pytest.fixture
def container(machine: Machine) -> Iterator[tuple[dict[str, str], int]]:
    """Its environment and its process, which holds 1 GiB; a stranger on the same GPU holds 3,000 MiB."""
    trial = machine.trial((0, LIMIT))
    own = machine.start(sys.executable, "-c", HOLD, str(HELD), **trial)
    stranger = machine.start(sys.executable, "-c", HOLD, "3000", LD_PRELOAD="")
    try:
        for process in (own, stranger):
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n", process.communicate()
        yield trial, own.pid
    finally:
        for process in (own, stranger):
            process.kill()
            process.communicate()


def test_nvidia_smi(machine: Machine, container: tuple[dict[str, str], int]) -> None:
    trial, own = container
    table = machine.run(SMI, **trial).stdout
    assert f"{HELD + CONTEXT}MiB /  {LIMIT}MiB" in table
    assert f"{TOTAL}MiB / {TOTAL}MiB" in table, "the other GPU isn't of this container's policy: nothing to be had"
    assert re.findall(r"\| +(\d+) +N/A +N/A +(\d+) +C .* (\d+)MiB \|", table) == [("0", str(own), str(HELD + CONTEXT))]
    assert "Function Not Found" not in table
    details = machine.run(SMI, "-q", **trial).stdout
    assert "Function Not Found" not in details
    assert re.findall(r"Process ID +: (\d+)", details) == [str(own)]
    assert re.search(
        rf"Total +: {LIMIT} MiB\n.*\n +Used +: {HELD + CONTEXT} MiB\n +Free +: {LIMIT - HELD - CONTEXT} MiB", details
    )
    apps = machine.run(SMI, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits", **trial).stdout
    assert apps.splitlines() == [f"{own}, {HELD + CONTEXT}"]
    query = machine.run(
        SMI, "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits", "-i", "0", **trial
    )
    assert query.stdout.splitlines() == [f"{HELD + CONTEXT}, {LIMIT}"]


@pytest.mark.parametrize("version", ["535.261.03", "575.57.08"])
def test_nvidia_smi_in_a_pid_namespace(tmp_path: Path, version: str) -> None:
    """Whether or not libvgpu knows this driver's table: the numbers are the container's, a stranger isn't there."""
    machine = machine_of(tmp_path / "machine", tmp_path, "--driver-version", version)
    stranger = machine.start(sys.executable, "-c", HOLD, "3000", LD_PRELOAD="")
    try:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "held\n"
        namespace = ("unshare", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
        table = machine.run(
            *(*namespace, "sh", "-c", INSIDE, tmp_path / "fifo", SMI),
            HOLD=HOLD,
            HOLDER=sys.executable,
            HELD=str(HELD),
            **machine.trial((0, LIMIT)),
        ).stdout
    finally:
        stranger.kill()
        stranger.communicate()
    assert f"{HELD + CONTEXT}MiB /  {LIMIT}MiB" in table
    ((pid, memory),) = re.findall(r"\| +0 +N/A +N/A +(\d+) +C .* (\d+)MiB \|", table)
    assert (int(pid) < 100, int(memory)) == (True, HELD + CONTEXT)


def test_gpustat(machine: Machine, container: tuple[dict[str, str], int]) -> None:
    trial, own = container
    gpu = json.loads(machine.run(PYTHON / "gpustat", "--json", **trial).stdout)["gpus"][0]
    assert (gpu["memory.used"], gpu["memory.total"]) == (HELD + CONTEXT, LIMIT)
    assert [(each["pid"], each["gpu_memory_usage"]) for each in gpu["processes"]] == [(own, HELD + CONTEXT)]


def test_nvitop(machine: Machine, container: tuple[dict[str, str], int]) -> None:
    trial, own = container
    table = machine.run(PYTHON / "nvitop", "--once", "--ascii", **trial).stdout
    assert f"{HELD + CONTEXT}MiB / {LIMIT}MiB" in table
    assert re.findall(r"\| +0 +(\d+) C .* (\d+)MiB ", table) == [(str(own), str(HELD + CONTEXT))]


def test_nvidia_ml_py(machine: Machine, container: tuple[dict[str, str], int]) -> None:
    trial, own = container
    shown = [LIMIT, HELD + CONTEXT, LIMIT - HELD - CONTEXT]
    said = json.loads(machine.run(PYTHON / "python", "-W", "ignore", "-c", NVML_PY, **trial).stdout)
    assert said == [shown, shown, [[own, HELD + CONTEXT]], 0]


def test_nvtop(machine: Machine, container: tuple[dict[str, str], int]) -> None:
    """It draws on a terminal; read until its figures are there."""
    trial, own = container
    process, terminal = pty.fork()
    if process == 0:
        os.execve(NVTOP, [str(NVTOP)], machine.environment(TERM="xterm", LINES="40", COLUMNS="120", **trial))
    drawn = ""
    deadline = time.monotonic() + 120
    try:
        while not ("1.354Gi/7.500Gi" in drawn and str(own) in drawn):
            assert time.monotonic() < deadline, drawn[-2000:]
            if select.select([terminal], [], [], 1)[0]:
                drawn += os.read(terminal, 65536).decode(errors="replace")
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)
    assert "3362MiB" not in drawn, "the stranger's memory"


def test_cuda_bindings_run_unchanged(machine: Machine) -> None:
    """The same program as without libvgpu, and the same answers."""
    trial = machine.trial((0, LIMIT))
    held = json.loads(machine.run(PYTHON / "python", UNCHANGED / "bindings.py", **trial).stdout)
    alone = json.loads(machine.run(PYTHON / "python", UNCHANGED / "bindings.py", LD_PRELOAD="").stdout)
    timed = {"first_ms", "both_ms", "graph_ms"}
    assert {key: held[key] for key in held.keys() - timed} == {key: alone[key] for key in alone.keys() - timed}
    assert machine.total() == 0


def test_cuda_bindings_over_the_limit(machine: Machine) -> None:
    trial = machine.trial((0, LIMIT))
    seen = json.loads(machine.run(PYTHON / "python", PROGRAMS / "over_the_limit.py", **trial).stdout)
    refused = "CUDA_ERROR_OUT_OF_MEMORY"
    fit = (LIMIT - CONTEXT) // 256
    assert (seen["total"], seen["device_total"], seen["fit"], seen["left"]) == (LIMIT, LIMIT, fit, 0)
    for family in ("linear", "managed", "pool", "physical", "graph"):
        assert seen[family] == [fit, refused], family


def test_numba_over_the_limit(machine: Machine) -> None:
    trial = machine.trial((0, LIMIT))
    seen = json.loads(machine.run(PYTHON / "python", UNCHANGED / "numba_program.py", **trial).stdout)
    assert (seen["total"] >> 20, seen["same"], seen["zero"]) == (LIMIT, True, 0)
    assert seen["gibibytes"] == (LIMIT - CONTEXT) // 1024
    assert "CUDA_ERROR_OUT_OF_MEMORY" in seen["error"]
    assert machine.total() == 0


def test_launches_and_memory_passed_on(machine: Machine) -> None:
    """Cooperative, extended and per-thread launches pass untouched; a file descriptor's memory is counted once."""
    trial = machine.trial((0, 2 * CONTEXT + 4))
    held = json.loads(machine.run(PYTHON / "python", UNCHANGED / "launches.py", **trial).stdout)
    assert held == json.loads(machine.run(PYTHON / "python", UNCHANGED / "launches.py", LD_PRELOAD="").stdout)
