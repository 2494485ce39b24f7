"""The agent on the project's simulated driver: NVML as a real one answers."""

import subprocess
import sys
from pathlib import Path

from tests.integration.deviceplugin.conftest import NODE, Machine, until
from unigpu import gpus, names, policy
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.requests import Request
from unigpu.units import MiB, Percent

LIBRARIES = Path(__file__).parents[3] / "build" / "simulator"
USABLE = 40960 - 423
"""MiB of an A100 without what its driver keeps."""


def sim(machine: Machine, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "simulator", *arguments, "--dir", machine.sim], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def use(machine: Machine, *create: str) -> None:
    assert (LIBRARIES / "libnvidia-ml.so.1").exists(), "the simulated driver isn't built: run 'make native'"
    machine.sim, machine.lib = machine.root / "real", LIBRARIES
    sim(machine, "create", *create)


def node_gpus(machine: Machine) -> tuple[Gpu, ...]:
    return gpus.load(machine.api.node(NODE)["metadata"]["annotations"][names.ANNOTATION_INVENTORY])


async def test_inventory_and_share(machine: Machine) -> None:
    use(machine, "--profile", "a100-40", "--gpus", "4", "--links", "pairs")
    machine.run()
    await machine.serving()
    found = node_gpus(machine)
    assert [(gpu.index, gpu.minor, gpu.memory, gpu.healthy) for gpu in found] == [
        (number, number, USABLE, True) for number in range(4)
    ]
    assert all(gpu.uuid.startswith("GPU-") and "A100" in gpu.model for gpu in found)
    assert found[0].links[found[1].uuid] >= 100
    assert found[2].links[found[3].uuid] >= 100
    assert found[0].links[found[2].uuid] <= 50
    assert machine.node_capacity[names.RESOURCE_MEMORY] == str(4 * USABLE)

    share = Share(found[2].uuid, MiB(4096), Percent(0))
    pod = await machine.create("pod", main=(Request(1, MiB(4096)), [share]))
    await machine.kubelet.prestart(pod, "main")
    limits = policy.unpack((machine.folder(pod) / "policy").read_bytes())
    assert [(gpu.gpu, gpu.memory) for gpu in limits.gpus] == [(found[2].uuid, 4096 << 20)]
    mounts, _ = machine.edits(pod)
    assert {path for path in mounts if path.startswith(str(machine.sim))} == {
        str(machine.sim / "state"),
        str(machine.sim / "gpu2"),
    }


async def test_failures_that_the_driver_reports(machine: Machine) -> None:
    use(machine, "--profile", "t4", "--gpus", "2")
    machine.run()
    await machine.serving(32)
    for inject in (("--lost",), ("--xid", "62"), ("--ecc-uncorrected", "2")):
        sim(machine, "inject", "--gpu", "1", *inject)
        await until(lambda: [gpu.healthy for gpu in node_gpus(machine)] == [True, False], f"{inject} is seen")
        sim(machine, "reset")
        await until(lambda: all(gpu.healthy for gpu in node_gpus(machine)), f"{inject} has passed")


async def test_a_row_of_memory_that_cannot_be_remapped_is_a_fault_that_a_reset_does_not_end(machine: Machine) -> None:
    use(machine, "--profile", "a100-40", "--gpus", "2")
    machine.run()
    await machine.serving(32)

    def reason() -> str:
        fault = node_gpus(machine)[1].fault
        return fault.reason if fault is not None else ""

    sim(machine, "inject", "--gpu", "1", "--xid", "64")
    await until(lambda: "XID 64" in reason(), "the XID is seen")
    sim(machine, "reset")
    await until(lambda: "broken row" in reason(), "what remains is said")


async def test_a_gpu_that_cant_be_shared_is_said_and_not_offered(machine: Machine) -> None:
    use(machine, "--profile", "a100-40", "--gpus", "2")
    machine.run()
    await machine.serving(32)
    for wrong, right in (
        (("--mig", "on"), ("--mig", "off")),
        (("--compute-mode", "prohibited"), ("--compute-mode", "default")),
        (("--compute-mode", "exclusive-process"), ("--compute-mode", "default")),
    ):
        sim(machine, "set", "--gpu", "1", *wrong)
        await until(lambda: [gpu.healthy for gpu in node_gpus(machine)] == [True, False], f"{wrong} is seen")
        fault = node_gpus(machine)[1].fault
        assert fault is not None
        assert "accepted: " in fault.reason
        await until(lambda: machine.node_capacity[names.RESOURCE_MEMORY] == str(USABLE), "only one GPU is offered")
        sim(machine, "set", "--gpu", "1", *right)
        await until(lambda: all(gpu.healthy for gpu in node_gpus(machine)), "it is offered again")
