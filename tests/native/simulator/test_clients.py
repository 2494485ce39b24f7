"""Programs that nobody here wrote, on the simulated driver."""

import json
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = ROOT / "build" / "clients"
PYTHON = CLIENTS / "python" / "bin"
SMI = CLIENTS / "debian" / "usr" / "lib" / "nvidia" / "current" / "nvidia-smi"
NVTOP = CLIENTS / "debian" / "usr" / "bin" / "nvtop"
PROGRAMS = Path(__file__).with_name("programs")
pytestmark = pytest.mark.usefixtures("clients")
MIB = 1 << 20
NOT_READY, OUT_OF_MEMORY, INVALID_VALUE, COOPERATIVE_TOO_LARGE = 600, 2, 1, 720


@pytest.fixture
def busy(machine: "Machine") -> int:
    """The host pid of a process that holds 1 GiB of GPU 0 of an RTX 4090, and its context."""
    machine.create("--profile", "rtx4090", "--gpus", "2", "--driver-version", "535.261.03", "--cuda-version", "12.2")
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("alloc", 1024 * MIB) == 0
    return client.process.pid


def output(machine: "Machine", *command: str | Path) -> str:
    result = subprocess.run(command, env=machine.environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_cuda_bindings(machine: "Machine") -> None:
    machine.create("--profile", "a100-40")
    seen: dict[str, Any] = json.loads(output(machine, PYTHON / "python", PROGRAMS / "bindings.py"))
    assert seen["global_bytes"] == 400
    assert seen["parameters"] == [[0, 8], [8, 4], [16, 24]]
    assert seen["busy"] == seen["behind"] == [NOT_READY, NOT_READY]
    assert seen["first_ms"] >= 50
    assert seen["both_ms"] - seen["first_ms"] >= 19.999
    assert (seen["alloc_in_capture"], seen["invalid"]) == (900, 901)
    assert (seen["zero"], seen["not_yet"], seen["sevens"], seen["nines"]) == (0, 0, 7 * MIB, 9 * MIB)
    assert seen["nodes"] == 5
    assert seen["graph_ms"] >= 45
    assert seen["graph_leak"] == 0
    assert seen["called"] == [True]
    assert seen["refused"] == [OUT_OF_MEMORY, 1, 1, 1, 1, 200, 500, INVALID_VALUE]


def test_numba_cuda(machine: "Machine") -> None:
    machine.create("--profile", "a100-40")
    seen = json.loads(output(machine, PYTHON / "python", PROGRAMS / "numba_program.py"))
    assert seen["total"] == (40960 - 423) * MIB
    assert seen["same"]
    assert seen["zero"] == 0
    assert seen["gibibytes"] == 39
    assert "CUDA_ERROR_OUT_OF_MEMORY" in seen["error"]


@pytest.mark.parametrize(("folder", "version"), [("cuda_nvrtc", [12, 9]), ("cu13", [13, 5])])
def test_nvrtc(machine: "Machine", folder: str, version: list[int]) -> None:
    machine.create("--cuda-version", ".".join(map(str, version)))
    not_found = 500
    seen = json.loads(output(machine, PYTHON / "python", PROGRAMS / "nvrtc.py", folder))
    assert seen == {"version": version, "compiled": [0] * 5, "unknown table": [not_found, None]}


def test_nvidia_smi(machine: "Machine", busy: int) -> None:
    table = output(machine, SMI)
    assert "Driver Version: 535.261.03   CUDA Version: 12.2" in table
    assert "1386MiB / 24564MiB" in table
    assert re.search(rf"\|    0   N/A  N/A +{busy} +C .* 1386MiB \|", table)
    assert "Function Not Found" not in table
    details = output(machine, SMI, "-q")
    assert "Function Not Found" not in details
    assert f"Process ID                        : {busy}" in details
    assert len(re.findall("Product Name +: NVIDIA GeForce RTX 4090", details)) == 2
    query = output(machine, SMI, "--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits")
    assert query.splitlines() == ["0, 1386, 24564", "1, 0, 24564"]


def test_nvidia_smi_resets_an_unused_gpu(machine: "Machine", busy: int) -> None:
    machine.command("inject", "--gpu", "1", "--ecc-corrected", "3")
    refused = subprocess.run(
        [SMI, "-r", "-i", "0"], env=machine.environment(), capture_output=True, text=True, timeout=120
    )
    assert (refused.returncode, refused.stdout.strip()) == (19, "GPU reset unavailable: In use by another client")
    assert "was successfully reset" in output(machine, SMI, "-r", "-i", "1")
    assert json.loads(machine.command("show", "--json"))["gpus"][1]["ecc_corrected"] == 0


def test_gpustat(machine: "Machine", busy: int) -> None:
    seen = json.loads(output(machine, PYTHON / "gpustat", "--json"))
    assert [gpu["memory.used"] for gpu in seen["gpus"]] == [1386, 0]
    assert [process["pid"] for process in seen["gpus"][0]["processes"]] == [busy]


def test_nvitop(machine: "Machine", busy: int) -> None:
    table = output(machine, PYTHON / "nvitop", "--once", "--ascii")
    assert "1386MiB / 23.99GiB" in table
    assert str(busy) in table


def test_nvtop(machine: "Machine", busy: int) -> None:
    """It draws on a terminal; read until both figures are there."""
    process, terminal = pty.fork()
    if process == 0:
        environment = machine.environment(TERM="xterm", LINES="40", COLUMNS="120")
        os.execve(NVTOP, [str(NVTOP)], environment)
    drawn = ""
    deadline = time.monotonic() + 120
    try:
        while not ("1.692Gi/23.988Gi" in drawn and str(busy) in drawn):
            assert time.monotonic() < deadline, drawn[-2000:]
            if select.select([terminal], [], [], 1)[0]:
                drawn += os.read(terminal, 65536).decode(errors="replace")
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def test_every_family_takes_and_gives_back(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090")
    seen = json.loads(output(machine, PYTHON / "python", PROGRAMS / "families.py"))
    taken = {
        "linear": 100,
        "small": 2,
        "pitched": 10,
        "managed": 64,
        "array": 64,
        "mipmap": 6,
        "pool": 48,
        "virtual": 32,
        "host": 0,
        "graph": 80,
    }
    assert {name: seen[name] for name in taken} == {name: [count, 0] for name, count in taken.items()}
    assert seen["pitch"] == 1024
    assert seen["array_same"]
    assert seen["last_level"] == [1, 1]
    assert (seen["pool_used"], seen["pool_after"]) == (48 * MIB, 0)
    assert seen["granularity"] == 2 * MIB
    assert seen["released_but_mapped"] == 32
    assert seen["host_device_pointer"]
    assert seen["graph_before"] == 0
    refusals = ("array_beyond", "no_level", "odd_size", "twice", "no_access", "behind_mapping", "reserved_in_use")
    assert {seen[name] for name in refusals} == {INVALID_VALUE}
    assert (seen["registered_twice"], seen["not_registered"], seen["graph_again"]) == (712, 713, INVALID_VALUE)
    assert seen["other_read"] == [4] * 16
    assert seen["other_wrote"] == [5] * 16 + [4]


def test_launches_and_memory_passed_on(machine: "Machine") -> None:
    """A cooperative grid of a block too many is refused; the twins' default stream is the thread's own."""
    machine.create("--profile", "a100-40")
    seen = json.loads(output(machine, PYTHON / "python", PROGRAMS / "launches.py"))
    assert seen["cooperative"] == seen["extended"] == [0, COOPERATIVE_TOO_LARGE]
    assert seen["twins"] == [[0, NOT_READY, 0, 0]] * 3
    assert seen["changed"] == [20, 5]
    assert seen["passed_on"] == [5, 9], "each process reads what the other wrote"
