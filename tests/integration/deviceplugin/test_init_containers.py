"""Init containers hold slots that later containers of their pod hold again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.deviceplugin.conftest import Machine, one, share, until, uuid
from unigpu import names, policy
from unigpu.requests import Request, Role
from unigpu.units import MiB


def memory(machine: Machine, pod: dict[str, Any], container: str) -> list[tuple[str, int]]:
    limits = policy.unpack((machine.folder(pod, container) / "policy").read_bytes())
    return [(gpu.gpu, gpu.memory >> 20) for gpu in limits.gpus]


def mounted(machine: Machine, pod: dict[str, Any], container: str) -> bool:
    mounts, _ = machine.edits(pod, container)
    return bool(mounts[names.CONTAINER_POLICY]["hostPath"] == str(machine.folder(pod, container) / "policy"))


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def status(machine: Machine, pod: dict[str, Any], **states: dict[str, Any]) -> None:
    """What the kubelet reports of the pod's init containers."""
    pod["status"]["initContainerStatuses"] = [
        {"name": name.replace("_", "-"), "state": state} for name, state in states.items()
    ]
    await machine.api.put("pods", pod)


async def test_init_then_main_on_other_gpus(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", prepare=one(0, 9000, role=Role.INIT), main=one(1, 500), beside=one(2, 700))
    uid = pod["metadata"]["uid"]
    assert machine.kubelet.allocated[uid, "prepare"] == machine.kubelet.allocated[uid, "main"]

    await machine.kubelet.prestart(pod, "prepare")
    assert memory(machine, pod, "prepare") == [(uuid(0), 9000)]
    assert mounted(machine, pod, "prepare")

    # The status that the API server has lags behind: the agent waits rather than guess.
    await status(machine, pod, prepare={"running": {"startedAt": now()}})
    starting = asyncio.create_task(machine.kubelet.prestart(pod, "main"))
    await machine.kubelet.prestart(pod, "beside")
    assert memory(machine, pod, "beside") == [(uuid(2), 700)]
    assert not starting.done()
    await status(machine, pod, prepare={"terminated": {"exitCode": 0, "finishedAt": now()}})
    await starting
    assert memory(machine, pod, "main") == [(uuid(1), 500)]
    assert mounted(machine, pod, "main")
    await until(lambda: not machine.folder(pod, "prepare").exists(), "the init container's folder is gone")
    assert mounted(machine, pod, "main")

    # The main container restarts.
    await machine.kubelet.prestart(pod, "main")
    assert not machine.folder(pod, "prepare").exists()


async def test_init_that_fails_starts_again(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", prepare=one(0, 9000, role=Role.INIT), main=one(0, 500))
    await machine.kubelet.prestart(pod, "prepare")
    await status(machine, pod, prepare={"terminated": {"exitCode": 1, "finishedAt": now()}})
    await machine.kubelet.prestart(pod, "prepare")
    assert mounted(machine, pod, "prepare")
    assert not machine.folder(pod, "main").exists()


async def test_books_count_the_larger_of_init_and_main(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", prepare=one(0, 20000, role=Role.INIT), main=one(0, 20000))
    await machine.kubelet.prestart(pod, "prepare")
    await status(machine, pod, prepare={"terminated": {"exitCode": 0, "finishedAt": now()}})
    await machine.kubelet.prestart(pod, "main")
    assert mounted(machine, pod, "main")


async def test_what_was_prepared_for_init_is_not_written_over_main(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", prepare=one(0, 9000, role=Role.INIT), main=one(0, 500))
    hidden = machine.kubelet.checkpoint.rename(machine.root / "checkpoint")  # nothing can be prepared yet
    await machine.kubelet.prestart(pod, "prepare")
    await status(machine, pod, prepare={"terminated": {"exitCode": 0, "finishedAt": now()}})
    await until(lambda: not machine.folder(pod, "prepare").exists(), "the init container's folder is gone")
    starting = asyncio.create_task(machine.kubelet.prestart(pod, "main"))
    hidden.rename(machine.kubelet.checkpoint)
    await starting
    await asyncio.sleep(0.2)  # what was prepared waits for this one's spec to be written, and is next
    assert mounted(machine, pod, "main")


async def test_init_with_more_gpus_than_main(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    wide = (Request(gpus=2, memory=MiB(300), role=Role.INIT), [share(2, 300), share(3, 300)])
    pod = await machine.create("pod", prepare=wide, main=one(0, 500))
    await machine.kubelet.prestart(pod, "prepare")
    assert memory(machine, pod, "prepare") == [(uuid(2), 300), (uuid(3), 300)]
    await machine.kubelet.prestart(pod, "main")
    assert memory(machine, pod, "main") == [(uuid(0), 500)]


async def test_sidecar_beside_main(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", watch=one(0, 300, role=Role.SIDECAR), main=one(1, 500))
    await machine.kubelet.prestart(pod, "watch")
    await machine.kubelet.prestart(pod, "main")
    assert memory(machine, pod, "watch") == [(uuid(0), 300)]
    assert memory(machine, pod, "main") == [(uuid(1), 500)]


async def test_all_containers_run_again_when_the_sandbox_was_lost(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", prepare=one(0, 9000, role=Role.INIT), main=one(1, 500))
    await machine.kubelet.prestart(pod, "prepare")
    await status(machine, pod, prepare={"terminated": {"exitCode": 0, "finishedAt": now()}})
    await machine.kubelet.prestart(pod, "main")
    await until(lambda: not machine.folder(pod, "prepare").exists(), "the init container's folder is gone")

    # The status says only for a moment that the sandbox isn't there, and goes on to say that init has ended.
    lost = datetime.now(UTC) + timedelta(seconds=2)
    for there in ("False", "True"):
        pod["status"]["conditions"] = [
            {
                "type": "PodReadyToStartContainers",
                "status": there,
                "lastTransitionTime": lost.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ]
        await machine.api.put("pods", pod)
    await until(lambda: "sandbox lost" in machine.log.read_text(), "the agent has noticed")
    await machine.kubelet.prestart(pod, "prepare")
    assert memory(machine, pod, "prepare") == [(uuid(0), 9000)]
    assert mounted(machine, pod, "prepare")
