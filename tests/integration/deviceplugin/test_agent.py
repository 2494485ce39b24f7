"""The agent with a kubelet and an API server: from registration to what a container gets."""

import asyncio
import json
import os
import stat
import sys
from typing import Any

import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deviceplugin.node import driver_files
from tests.integration.deviceplugin.conftest import NODE, Machine, make_pod, one, share, until, uuid
from unigpu import gpus, grants, names, policy, usage
from unigpu.requests import Request
from unigpu.units import MiB, Percent


async def refusal(machine: Machine, pod: dict[str, Any], container: str = "main") -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await machine.kubelet.prestart(pod, container)
    return caught.value.details() or ""


async def test_registers_and_publishes(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    assert machine.kubelet.resource == names.RESOURCE_VGPU
    assert machine.kubelet.options is not None
    assert machine.kubelet.options.pre_start_required
    assert sorted(machine.kubelet.devices) == [f"slot-{number:04d}" for number in range(64)]
    status = machine.api.node(NODE)["status"]
    for part in (status["capacity"], status["allocatable"]):
        assert (part[names.RESOURCE_MEMORY], part[names.RESOURCE_CORES]) == ("98304", "400")
    assert status["capacity"]["cpu"] == "4"
    node_gpus = gpus.load(machine.api.node(NODE)["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
    assert [(gpu.uuid, gpu.index, gpu.minor, gpu.memory, gpu.healthy) for gpu in node_gpus] == [
        (uuid(number), number, number, 24576, True) for number in range(4)
    ]
    assert node_gpus[0].links == {uuid(1): 50, uuid(2): 10, uuid(3): 10}
    assert (await machine.get("/healthz"))[0] == 200
    await machine.answers("/readyz", 200)


async def test_gives_what_was_allocated(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    request = Request(gpus=2, memory=MiB(3000), cores=Percent(30), dialect=names.DIALECT_HAMI)
    pod = await machine.create("pair", main=(request, [share(3, 3000, 30), share(1, 3000, 30)]))
    await machine.kubelet.prestart(pod, "main")

    mounts, env = machine.edits(pod)
    folder = machine.folder(pod)
    assert mounts[names.CONTAINER_POLICY]["hostPath"] == str(folder / "policy")
    assert "ro" in mounts[names.CONTAINER_POLICY]["options"]
    assert "rw" in mounts[names.CONTAINER_USAGE]["options"]
    library = machine.state / "lib" / os.path.basename(mounts[names.CONTAINER_LIBRARY]["hostPath"])  # noqa: PTH119
    assert library.read_bytes() == b"libvgpu, first"
    preload = mounts[names.CONTAINER_PRELOAD]
    assert (machine.state / "lib" / "ld.so.preload").read_text() == names.CONTAINER_LIBRARY + "\n"
    assert "ro" in preload["options"]
    assert {path for path in mounts if path.startswith(str(machine.sim))} == {
        str(machine.sim / name) for name in ("state", "gpu1", "gpu3")
    }
    for folder_name in driver_files.CONTAINER_FOLDERS:
        assert mounts[f"{folder_name}/libcuda.so.1"]["hostPath"] == str(machine.lib / "libcuda.so.1")
        assert f"{folder_name}/libnvidia-ml.so.1" in mounts
    assert env[names.ENV_MANAGED] == "1"
    assert env[names.ENV_SIM_DIR] == str(machine.sim)
    assert env["CUDA_DEVICE_MEMORY_LIMIT_1"] == "3000m"

    limits = policy.unpack((folder / "policy").read_bytes())
    assert [(gpu.gpu, gpu.memory, gpu.cores) for gpu in limits.gpus] == [
        (uuid(3), 3000 << 20, 30),
        (uuid(1), 3000 << 20, 30),
    ]
    assert limits.memory_enforced
    assert limits.cores_enforced
    file = folder / "usage"
    assert file.stat().st_size == usage.SIZE
    assert stat.S_IMODE(file.stat().st_mode) == 0o666
    grant = grants.load((folder / "grant.json").read_text())
    assert (grant.namespace, grant.pod, grant.container) == ("default", "pair", "main")
    assert grant.indexes == {uuid(3): 3, uuid(1): 1}
    assert list(grant.slots) == sorted(machine.kubelet.allocated[pod["metadata"]["uid"], "main"])


async def figures(machine: Machine) -> dict[str, float]:
    """What the agent's metrics say, by name and outcome."""
    status, text = await machine.get("/metrics")
    assert status == 200
    return {
        f"{sample.name} {sample.labels.get('outcome', '')}".strip(): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created", "_sum"))
    }


async def test_its_own_metrics(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    await machine.answers("/readyz", 200)
    seconds, changes = f"{names.METRIC_AGENT_ALLOCATION}_count", names.METRIC_AGENT_LIMIT_CHANGES
    expected = {f"{seconds} {outcome}": 0.0 for outcome in ("allocated", "denied", "unavailable", "error")}
    expected |= {f"{changes} changed": 0.0, f"{changes} refused": 0.0}
    expected |= {names.METRIC_AGENT_READY: 1.0, names.METRIC_AGENT_GRANTS: 0.0, names.METRIC_AGENT_USAGE_FILE_CUTS: 0.0}
    assert await figures(machine) == expected
    pod = await machine.create("first", main=one(0, 4096, 50))
    await machine.kubelet.prestart(pod, "main")
    assert await figures(machine) == expected | {f"{seconds} allocated": 1, names.METRIC_AGENT_GRANTS: 1}
    # It was placed on a GPU that the node doesn't have.
    await refusal(machine, await machine.create("second", main=one(9, 100)))
    denied = await figures(machine)
    assert denied == expected | {
        f"{seconds} allocated": 1,
        f"{seconds} denied": 1,
        names.METRIC_AGENT_GRANTS: 1,
    }


async def test_asks_the_kubelet_to_list_only_where_its_checkpoint_says_nothing(machine: Machine) -> None:
    """A List may take the devices of a pod that is being admitted."""
    machine.run()
    await machine.serving()
    first = await machine.create("first", main=one(0, 100))
    await machine.kubelet.prestart(first, "main")
    assert machine.kubelet.lists == 0
    for content in (None, "of a later kubelet"):
        second = await machine.create("second", main=one(1, 100))
        machine.kubelet.checkpoint.unlink()
        if content is not None:
            machine.kubelet.checkpoint.write_text(content)
        before = machine.kubelet.lists
        await machine.kubelet.prestart(second, "main")
        assert machine.kubelet.lists > before
        assert machine.folder(second).exists()
        await machine.remove(second)


async def test_a_container_with_a_gpu_of_another_plugin_doesnt_start(machine: Machine) -> None:
    """The second plugin registered after the pod was placed, and before the kubelet admitted it."""
    machine.run()
    await machine.serving()
    pod = await machine.create("twice", main=one(0, 100))
    uid = pod["metadata"]["uid"]
    machine.kubelet.give(uid, "main", "nvidia.com/gpu")
    told = await refusal(machine, pod)
    assert "container main of pod default/twice was given nvidia.com/gpu by another device plugin" in told
    assert not machine.folder(pod).exists()
    machine.kubelet.give(uid, "main", "rdma/hca")
    await machine.kubelet.prestart(pod, "main")


async def test_several_containers_each_get_theirs(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pods = [
        await machine.create(
            f"pod{number}", left=one(number % 4, 100 + number), right=one((number + 1) % 4, 200 + number)
        )
        for number in range(15)
    ]
    await asyncio.gather(*(machine.kubelet.prestart(pod, name) for pod in pods for name in ("left", "right")))
    for number, pod in enumerate(pods):
        for container, gpu, memory in (("left", number % 4, 100 + number), ("right", (number + 1) % 4, 200 + number)):
            limits = policy.unpack((machine.folder(pod, container) / "policy").read_bytes())
            assert [(limit.gpu, limit.memory >> 20) for limit in limits.gpus] == [(uuid(gpu), memory)]
            mounts, _ = machine.edits(pod, container)
            assert mounts[names.CONTAINER_POLICY]["hostPath"] == str(machine.folder(pod, container) / "policy")


async def test_a_hundred_at_once(machine: Machine) -> None:
    machine.arguments = ["--shares-per-gpu", "32"]
    machine.run()
    await machine.serving(128)
    pods = [await machine.create(f"pod{number}", main=one(number % 4, 500, 4)) for number in range(100)]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(machine.kubelet.prestart(pod, "main") for pod in pods))
    took = asyncio.get_running_loop().time() - began
    print(f"100 containers prepared in {took * 1000:.0f} ms")
    for number, pod in enumerate(pods):
        limits = policy.unpack((machine.folder(pod) / "policy").read_bytes())
        assert [gpu.gpu for gpu in limits.gpus] == [uuid(number % 4)]
    assert len(machine.specs()) == 100


@pytest.mark.parametrize(
    ("pod", "says"),
    [
        (make_pod("p", {"main": one(0, 100)}, node="node-b"), "placed on node node-b"),
        (make_pod("p", {"main": (Request(gpus=1), [share(9, 100)])}), "doesn't have"),
        (make_pod("p", {"main": one(0, 25000)}), "24576 MiB"),
        (make_pod("p", {"main": (Request(gpus=2), [share(0, 100)])}), "asked for 2 GPUs"),
    ],
)
async def test_refuses(machine: Machine, pod: dict[str, Any], says: str) -> None:
    machine.run()
    await machine.serving()
    await machine.api.put("pods", pod)
    await machine.kubelet.admit(pod)
    assert says in await refusal(machine, pod)
    assert not (machine.folder(pod) / "policy").exists()
    assert machine.specs() == []


async def test_refuses_a_pod_that_was_not_placed(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = make_pod("p", {"main": one(0, 100)})
    del pod["metadata"]["annotations"][names.ANNOTATION_ALLOCATION]
    await machine.api.put("pods", pod)
    await machine.kubelet.admit(pod)
    assert names.SCHEDULER_NAME in await refusal(machine, pod)


async def test_books_hold_until_the_pod_is_gone(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    first = await machine.create("first", main=one(0, 20000))
    await machine.kubelet.prestart(first, "main")
    second = await machine.create("second", main=one(0, 20000))
    assert "40000 MiB would be granted" in await refusal(machine, second)
    await machine.remove(first)
    await machine.kubelet.prestart(second, "main")
    await until(lambda: not machine.folder(first).parent.exists(), "the folder of the first is gone")


async def test_books_hold_until_the_last_program_of_a_pod_deleted_by_force_has_ended(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    first = await machine.create("first", main=one(0, 20000))
    await machine.kubelet.prestart(first, "main")
    hold = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX, 1, int(sys.argv[2]));"
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", hold + "print(flush=True); sys.stdin.read()"),
        *(str(machine.folder(first) / grants.USAGE_FILE), str(usage.LOCKS_OFFSET + 7)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert program.stdout is not None
        await program.stdout.readline()
        await machine.remove(first)
        await until(lambda: "a program of it still runs" in machine.log.read_text(), "the agent has noticed")
        machine.kill()
        machine.run()
        await until(lambda: machine.log.read_text().count("registered with the kubelet") == 2, "its successor serves")
        await machine.serving()  # registered comes first, and the list of its slots after it
        second = await machine.create("second", main=one(0, 20000))
        starting = asyncio.create_task(machine.kubelet.prestart(second, "main"))
        await until(lambda: machine.log.read_text().count("a program of it still runs") == 2, "its successor too")
        assert not starting.done()
        assert machine.folder(first).exists()
    finally:
        program.kill()
        await program.wait()
    await starting
    assert not machine.folder(first).exists()


async def test_a_namesake_is_told_apart(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("twin", main=one(0, 100))
    later = json.loads(json.dumps(pod))
    later["metadata"]["uid"] = "uid-of-another"
    await machine.api.put("pods", later)
    assert "uid-of-another" in await refusal(machine, pod)


async def test_api_server_down_means_no_start(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    await machine.api.set_down(True)
    assert "API server" in await refusal(machine, pod)
    await machine.api.set_down(False)
    await machine.kubelet.prestart(pod, "main")


async def test_finished_and_deleted_pods_are_taken_back(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    job, pod, stays = [await machine.create(name, main=one(0, 100)) for name in ("job", "pod", "stays")]
    for each in (job, pod, stays):
        await machine.kubelet.prestart(each, "main")
    assert len(machine.specs()) == 3
    job["status"]["phase"] = "Succeeded"
    await machine.api.put("pods", job)
    await machine.remove(pod)
    await until(lambda: len(list((machine.state / "containers").iterdir())) == 1, "one folder is left")
    await until(lambda: len(machine.specs()) == 1, "one spec is left")
    assert machine.folder(stays).exists()


async def test_node_mode_is_in_force_at_once(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(2, 4000, 50))
    await machine.kubelet.prestart(pod, "main")
    file = machine.folder(pod) / "policy"
    inode = file.stat().st_ino

    async def label(**labels: str) -> None:
        node = json.loads(json.dumps(machine.api.node(NODE)))
        node["metadata"]["labels"] = {key.replace("_", "."): value for key, value in labels.items()}
        await machine.api.put("nodes", node)

    def limits() -> policy.Policy:
        return policy.unpack(file.read_bytes())

    assert limits().memory_enforced
    await label(ack_node_gpu_schedule="share")
    await until(lambda: not limits().memory_enforced and not limits().cores_enforced, "nothing is enforced")
    assert limits().gpus[0].memory == 24576 << 20
    await label(ack_node_gpu_schedule="cgpu")
    await until(lambda: limits().memory_enforced and not limits().cores_enforced, "memory alone is enforced")
    assert limits().gpus[0].memory == 4000 << 20
    assert file.stat().st_ino == inode


async def test_spec_is_there_before_the_container_starts(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(1, 100))
    await until(machine.specs, "the spec is there")
    before = machine.edits(pod)
    (file,) = machine.cdi.glob("unigpu.dev-vgpu-*.json")
    inode = file.stat().st_ino
    assert not machine.folder(pod).exists()
    await machine.kubelet.prestart(pod, "main")
    assert machine.edits(pod) == before
    assert file.stat().st_ino == inode
    await machine.remove(pod)
    await until(lambda: not machine.specs(), "the spec is gone")


async def test_slot_that_is_used_again(machine: Machine) -> None:
    machine.arguments = ["--shares-per-gpu", "1"]
    machine.run()
    await machine.serving(4)
    for number in range(3):
        pods = [await machine.create(f"pod{number}-{gpu}", main=one(gpu, 100 + number)) for gpu in range(4)]
        for pod in pods:
            await machine.kubelet.prestart(pod, "main")
            mounts, _ = machine.edits(pod)
            assert mounts[names.CONTAINER_POLICY]["hostPath"] == str(machine.folder(pod) / "policy")
        for pod in pods:
            await machine.remove(pod)


async def test_stops_cleanly(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    assert machine.terminate() == 0
    assert not (machine.kubelet.plugins / names.PLUGIN_SOCKET).exists()
