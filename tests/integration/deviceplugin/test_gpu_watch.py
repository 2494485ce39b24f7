"""GPUs that fail and recover, and a driver that hangs or takes its process down."""

from pathlib import Path

import pytest

from tests.integration.deviceplugin.conftest import NODE, Machine, one, until, uuid
from tests.integration.deviceplugin.test_agent import refusal
from unigpu import gpus, names, telemetry


def healthy(machine: Machine) -> list[bool]:
    text = machine.api.node(NODE)["metadata"]["annotations"][names.ANNOTATION_INVENTORY]
    return [gpu.healthy for gpu in gpus.load(text)]


async def capacity(machine: Machine, memory: int, cores: int) -> None:
    def there() -> bool:
        found = machine.node_capacity
        return (found[names.RESOURCE_MEMORY], found[names.RESOURCE_CORES]) == (str(memory), str(cores))

    await until(there, f"capacity of {memory} MiB and {cores} %")


async def test_a_gpu_is_lost_and_comes_back(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(2, 100))
    (machine.sim / "lost2").touch()
    await capacity(machine, 3 * 24576, 300)
    assert healthy(machine) == [True, True, False, True]
    assert machine.kubelet.healthy == 64
    assert "unhealthy" in await refusal(machine, pod)

    # It is known by name to a later agent too.
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await machine.serving()
    assert healthy(machine) == [True, True, False, True]

    (machine.sim / "lost2").unlink()
    await capacity(machine, 4 * 24576, 400)
    await machine.kubelet.prestart(pod, "main")


def put(machine: Machine, name: str, text: str) -> None:
    (machine.sim / f"{name}.new").write_text(text)
    (machine.sim / f"{name}.new").rename(machine.sim / name)


def faults(machine: Machine) -> list[gpus.Fault | None]:
    text = machine.api.node(NODE)["metadata"]["annotations"][names.ANNOTATION_INVENTORY]
    return [gpu.fault for gpu in gpus.load(text)]


async def report(machine: Machine, gpu: int, xid: int) -> None:
    put(machine, "xid", f"{gpu} {xid}")
    await until(lambda: not (machine.sim / "xid").exists(), f"XID {xid} is read")


async def test_an_xid_passes(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    await report(machine, 1, 31)
    await report(machine, 3, 62)
    await capacity(machine, 3 * 24576, 300)
    assert healthy(machine) == [True, True, True, False]
    assert uuid(3).encode() + b"': 'XID 62'" in machine.log.read_bytes()
    await capacity(machine, 4 * 24576, 400)
    assert uuid(1).encode() + b"': 'XID" not in machine.log.read_bytes()
    assert faults(machine) == [None] * 4


async def test_a_fault_that_needs_a_reset_outlasts_an_agent_that_starts_while_the_api_server_hangs(
    machine: Machine,
) -> None:
    machine.arguments = ["--xid-quiet", "0"]
    machine.run()
    await machine.serving()
    await report(machine, 2, 79)
    await until(lambda: healthy(machine) == [True, True, False, True], "the GPU is unhealthy")
    (fault,) = filter(None, faults(machine))
    machine.api.reachable.clear()
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await until(lambda: machine.kubelet.healthy == 64, "slots")
    machine.api.reachable.set()
    await machine.answers("/readyz", 200)
    assert faults(machine) == [None, None, fault, None]
    assert machine.log.read_text().count("earlier inventory unknown") == 1


async def test_an_xid_that_needs_a_reset_stays_until_the_driver_is_loaded_again(machine: Machine) -> None:
    machine.arguments = ["--xid-quiet", "0"]
    machine.run()
    await machine.serving()
    await report(machine, 3, 79)
    await report(machine, 3, 45)
    await report(machine, 2, 62)
    # The later one has passed; the earlier one has not, and has kept its reason and time.
    await until(lambda: "XID 62" in machine.log.read_text(), "the XID that passes is seen")
    await until(lambda: healthy(machine) == [True, True, True, False], "it has passed")
    await capacity(machine, 3 * 24576, 300)
    fault = faults(machine)[3]
    assert fault is not None
    assert fault.reason == "XID 79, which needs a reset of the GPU"

    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await machine.serving()
    assert faults(machine) == [None, None, None, fault]
    pod = await machine.create("pod", main=one(3, 100))
    assert "unhealthy" in await refusal(machine, pod)

    put(machine, "state", "another driver")
    await capacity(machine, 4 * 24576, 400)
    await machine.kubelet.prestart(pod, "main")


async def test_nvml_shows_that_a_gpu_was_reset(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    put(machine, "recovery1", "1")
    await capacity(machine, 3 * 24576, 300)
    assert [fault and fault.reason for fault in faults(machine)][1] == "the driver asks for a reset of the GPU"
    await report(machine, 1, 48)
    await until(lambda: "XID 48" in str(faults(machine)[1]), "the XID is published")
    put(machine, "recovery1", "0")
    await capacity(machine, 4 * 24576, 400)
    assert faults(machine) == [None] * 4


async def test_the_driver_hangs(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    file = machine.state / telemetry.TELEMETRY_FILE
    said = telemetry.load(file.read_text())
    assert [(gpu.uuid, gpu.index) for gpu in said.gpus] == [(uuid(number), number) for number in range(4)]
    (machine.sim / "hang").touch()
    await capacity(machine, 0, 0)
    assert not file.exists(), "the exporter must not take the last values for current ones"
    assert (await machine.get("/healthz"))[0] == 200
    assert machine.kubelet.healthy == 64
    assert "unhealthy" in await refusal(machine, pod)
    (machine.sim / "hang").unlink()
    await capacity(machine, 4 * 24576, 400)
    await machine.kubelet.prestart(pod, "main")


async def test_the_driver_takes_its_process_down(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    (machine.sim / "crash").touch()
    await capacity(machine, 0, 0)
    (machine.sim / "crash").unlink()
    await capacity(machine, 4 * 24576, 400)
    assert machine.agent is not None
    assert machine.agent.poll() is None


async def test_the_driver_is_not_there_yet(machine: Machine) -> None:
    library = machine.lib / "libnvidia-ml.so.1"
    target = library.readlink()
    library.unlink()
    machine.run()
    await until(lambda: b"NVML doesn't answer" in machine.log.read_bytes(), "it was noticed")
    assert (await machine.get("/readyz"))[0] == 503
    library.symlink_to(target)
    await machine.serving()


async def test_a_container_runtime_without_cdi_is_said_and_no_gpu_offered(machine: Machine) -> None:
    node = machine.api.node(NODE)
    node["status"]["nodeInfo"] = {"containerRuntimeVersion": "containerd://1.6.20"}
    await machine.api.put("nodes", node)
    machine.run()
    await machine.serving()
    await capacity(machine, 0, 0)
    assert [fault and fault.reason.partition(",")[0] for fault in faults(machine)] == [
        "the container runtime containerd 1.6.20 knows no CDI devices"
    ] * 4
    pod = await machine.create("pod", main=one(2, 100))
    assert "knows no CDI devices" in await refusal(machine, pod)

    node = machine.api.node(NODE)
    node["status"]["nodeInfo"] = {"containerRuntimeVersion": "containerd://2.4.2"}
    await machine.api.put("nodes", node)
    await capacity(machine, 4 * 24576, 400)
    await machine.kubelet.prestart(pod, "main")


@pytest.mark.skipif(Path("/sys/module/nvidia").exists(), reason="this machine has a GPU")
async def test_a_node_without_gpus_is_ready_and_one_whose_driver_lacks_is_not(machine: Machine) -> None:
    """In a cluster without a node selector the agent is on every node, and `helm install --wait` waits for all."""
    machine.driver = ["--host-root", str(machine.root / "empty")]
    problem = "NVML doesn't answer"
    machine.run()
    await until(lambda: problem in machine.log.read_text(), problem)
    await machine.answers("/readyz", 200)
    machine.kill()

    # The driver is there, and NVML doesn't answer.
    library = machine.root / "empty/usr/lib64/libnvidia-ml.so.1"
    library.parent.mkdir(parents=True)
    library.write_text("no library")
    machine.run()
    await until(lambda: machine.log.read_text().count(problem) == 2, problem)
    await machine.answers("/readyz", 503)
