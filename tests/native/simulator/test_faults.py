"""Faults of GPUs and their drivers, as `unigpu-sim inject` and `set` make them; and what heals them."""

import json
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Client, Machine

SMI = Path(__file__).resolve().parents[3] / "build" / "clients/debian/usr/lib/nvidia/current/nvidia-smi"
MIB = 1 << 20
NO_DEVICE, UNAVAILABLE, UNKNOWN, GPU_IS_LOST = 100, 46, 999, 15
RESET = 1


def smi(machine: "Machine", *arguments: str) -> str:
    done = subprocess.run([SMI, *arguments], env=machine.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def gpu(machine: "Machine", number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.command("show", "--json"))["gpus"][number]
    return found


def started(machine: "Machine") -> "Client":
    client = machine.client()
    assert client.ask("start") == 0
    return client


@pytest.mark.parametrize("xid", [48, 64, 95, 119, 120, 140, 143, 154])
def test_a_fatal_xid_ends_contexts_and_stays_until_reset(machine: "Machine", xid: int) -> None:
    machine.create("--profile", "h100")
    client = started(machine)
    machine.command("inject", "--gpu", "0", "--xid", str(xid))
    assert client.ask("alloc", MIB) == UNKNOWN
    machine.command("inject", "--gpu", "0", "--found")
    other = machine.client()
    assert other.ask("start") == UNKNOWN
    assert other.ask("nvml_recovery_action") == RESET
    assert f"XID {xid} until reset" in machine.command("show")
    machine.command("reset")
    assert machine.client().ask("start") == 0
    assert other.ask("nvml_recovery_action") == 0


def test_an_xid_of_a_program_harms_nothing_else(machine: "Machine") -> None:
    client = started(machine)
    machine.command("inject", "--gpu", "0", "--xid", "13")
    assert client.ask("alloc", MIB) == 0
    assert (gpu(machine)["xid"], gpu(machine)["fatal_xid"]) == (13, 0)


@pytest.mark.usefixtures("clients")
def test_nvidia_smi_resets_after_a_fatal_xid(machine: "Machine") -> None:
    machine.create("--driver-version", "535.261.03", "--cuda-version", "12.2")
    machine.command("inject", "--gpu", "0", "--xid", "63")
    machine.command("inject", "--gpu", "0", "--xid", "48")
    rows = ("--query-remapped-rows=remapped_rows.uncorrectable,remapped_rows.pending", "--format=csv,noheader")
    assert smi(machine, *rows).split() == ["1,", "1"]
    smi(machine, "-r", "-i", "0")
    assert smi(machine, *rows).split() == ["1,", "0"]
    assert machine.client().ask("start") == 0


def test_xid_79_takes_the_gpu_off_the_bus(machine: "Machine") -> None:
    machine.create("--gpus", "3")
    watcher = machine.client()
    everything = watcher.ask("nvml_uuids")
    machine.command("inject", "--gpu", "1", "--xid", "79")
    assert watcher.ask("nvml_handle_status", 1) == GPU_IS_LOST
    assert machine.client().ask("nvml_uuids") == [everything[0], everything[2]], "a new session counts those left"
    machine.command("reset")
    assert machine.client().ask("nvml_uuids") == everything


def test_a_hanging_gpu_holds_calls_for_it_until_released(machine: "Machine") -> None:
    machine.create("--gpus", "2")
    held, free = machine.client(), machine.client()
    assert held.ask("nvml_used", 0) == free.ask("nvml_used", 1)
    machine.command("inject", "--gpu", "0", "--hang")
    held.begin("nvml_used", 0)
    assert free.ask("nvml_used", 1) > 0
    assert machine.command("show").count("hanging") == 1
    assert held.process.stdout
    assert not select.select([held.process.stdout], [], [], 0.1)[0]
    machine.command("inject", "--gpu", "0", "--release")
    assert held.answer() > 0


def test_processes_without_memory_and_listed_twice(machine: "Machine") -> None:
    client = started(machine)
    machine.command("set", "--process-memory", "hidden", "--process-list", "twice")
    not_available = (1 << 64) - 1
    assert client.ask("nvml_process_list") == [[client.process.pid, not_available]] * 2
    machine.command("set", "--process-memory", "shown", "--process-list", "once")
    assert client.ask("nvml_process_list") == [[client.process.pid, 409 * MIB]]


@pytest.mark.usefixtures("clients")
def test_clients_of_mps_are_in_its_list_too(machine: "Machine") -> None:
    machine.create("--driver-version", "535.261.03", "--cuda-version", "12.2")
    client = started(machine)
    entry = [[client.process.pid, 409 * MIB]]
    lists = ("Compute", "MPSCompute", "Graphics")
    assert [client.ask("nvml_process_list", 0, kind) for kind in lists] == [entry, [], []]
    machine.command("set", "--mps", "on")
    assert [client.ask("nvml_process_list", 0, kind) for kind in lists] == [entry, entry, []]
    assert re.search(rf"{client.process.pid} +M\+C ", smi(machine))
    refused = subprocess.run(
        [SMI, "-r", "-i", "0"], env=machine.environment(), capture_output=True, text=True, timeout=60
    )
    assert "In use by another client" in refused.stdout, "they use the GPU all the same"
    assert machine.command("show").splitlines()[1].endswith("MPS")


@pytest.mark.parametrize(("gpus", "kind"), [(2, 0), (4, 2)], ids=["a bridge", "a switch"])
def test_the_other_end_of_a_link_is_a_switch_where_there_are_more_than_two_gpus(
    machine: "Machine", gpus: int, kind: int
) -> None:
    machine.create("--profile", "h100", "--gpus", str(gpus), "--links", "full")
    ends = machine.client().ask("nvml_far_ends", 0, 18)
    assert {end[0] for end in ends} == {kind}
    buses = {int(each["bus"].split(":")[1], 16) for each in (gpu(machine, number) for number in range(gpus))}
    assert all((bus in buses) == (kind == 0) for _, bus in ends)


@pytest.mark.usefixtures("clients")
def test_compute_modes(machine: "Machine") -> None:
    machine.create("--driver-version", "535.261.03", "--cuda-version", "12.2")
    smi(machine, "-c", "EXCLUSIVE_PROCESS")
    first, second = started(machine), machine.client()
    assert second.ask("start") == UNAVAILABLE
    first.kill()
    assert second.ask("start") == 0
    machine.command("set", "--compute-mode", "prohibited")
    assert machine.client().ask("start") == UNKNOWN
    assert "compute mode prohibited" in machine.command("show")
    assert smi(machine, "--query-gpu=compute_mode", "--format=csv,noheader").strip() == "Prohibited"


@pytest.mark.usefixtures("clients")
def test_mig_mode_leaves_programs_no_device(machine: "Machine") -> None:
    machine.create("--driver-version", "535.261.03", "--cuda-version", "12.2")
    assert "Enabled MIG Mode" in smi(machine, "-mig", "1")
    assert machine.client().ask("init") == NO_DEVICE
    assert smi(machine, "--query-gpu=mig.mode.current", "--format=csv,noheader").strip() == "Enabled"
    assert smi(machine, "--query-gpu=utilization.gpu", "--format=csv,noheader").strip() == "[N/A]"
    machine.command("set", "--mig", "off")
    user = started(machine)
    assert "pending" in smi(machine, "-mig", "1").lower()
    assert gpu(machine)["mig"] is False, "a GPU in use changes with its reset"
    user.kill()
    machine.command("reset")
    assert machine.client().ask("init") == NO_DEVICE


@pytest.mark.usefixtures("clients")
def test_what_nvidia_smi_shows_over_time_and_of_links(machine: "Machine") -> None:
    machine.create("--gpus", "2", "--driver-version", "535.261.03", "--cuda-version", "12.2")
    client = started(machine)
    watched = [line.split()[:3] for line in smi(machine, "pmon", "-c", "1").splitlines()]
    assert ["0", str(client.process.pid), "C"] in watched
    assert [line.split()[0] for line in smi(machine, "dmon", "-c", "1").splitlines()[2:]] == ["0", "1"]
    assert smi(machine, "nvlink", "-s").count("25.781 GB/s") == 2 * 12
    assert smi(machine, "topo", "-C", "-i", "0").strip() == "NUMA IDs of closest CPU: 0"
    own_node = smi(machine, "topo", "-m").splitlines()[1].split("\t")[-1]
    assert own_node == "N/A"


def test_p2p_status_of_every_capability(machine: "Machine") -> None:
    """NVIDIA's own test of pynvml asks for the unknown one as well."""
    machine.create("--profile", "h100", "--gpus", "2")
    program = """
import json, pynvml as n
n.nvmlInit()
pair = [n.nvmlDeviceGetHandleByIndex(i) for i in range(2)]

def answer(capability):
    try:
        return n.nvmlDeviceGetP2PStatus(*pair, capability)
    except n.NVMLError as error:
        return f"error {error.value}"

print(json.dumps([answer(capability) for capability in range(7)]))
"""
    ok, not_supported, unknown = 0, 5, 6
    done = subprocess.run([sys.executable, "-c", program], env=machine.environment(), capture_output=True, text=True)
    assert json.loads(done.stdout) == [ok, ok, ok, ok, not_supported, unknown, "error 2"]
