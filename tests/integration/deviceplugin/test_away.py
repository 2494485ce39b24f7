"""The API server is away: what runs on the node needs only the node, and readiness tells the truth."""

import asyncio
import copy

from deviceplugin.kubelet.owner_lookup import RESTART_PATIENCE
from tests.integration.deviceplugin.conftest import Machine, one, share, until
from tests.integration.deviceplugin.test_agent import refusal
from unigpu import names, policy
from unigpu.requests import Request, Role
from unigpu.units import MiB, Percent

KUBELET_WAITS = 30.0
"""Seconds for PreStartContainer: KubeletPreStartContainerRPCTimeoutInSecs."""


async def test_a_container_that_restarts_needs_only_its_node(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    request = Request(gpus=1, memory=MiB(3000), cores=Percent(30), dialect=names.DIALECT_HAMI)
    pod = await machine.create("pod", main=(request, [share(2, 3000, 30)]))
    await machine.kubelet.prestart(pod, "main")
    before, file = machine.edits(pod), machine.folder(pod) / "policy"
    new = await machine.create("new", main=one(1, 100))
    await machine.api.set_down(True)

    for slot in machine.specs():
        (machine.cdi / f"unigpu.dev-vgpu-{slot}.json").unlink()
    await machine.kubelet.prestart(pod, "main")
    assert machine.edits(pod) == before, "the same GPUs, limits and variables"
    assert policy.unpack(file.read_bytes()).gpus[0].memory == 3000 << 20
    assert "knows no earlier run" in await refusal(machine, new), "a container that never ran here waits"
    status, text = await _settled(machine)
    assert status == 503
    assert "the API server doesn't answer" in text
    assert (await machine.get("/healthz"))[0] == 200

    # The next agent knows it from the node's files alone.
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await until(lambda: machine.kubelet.healthy == 64, "slots")
    for slot in machine.specs():
        (machine.cdi / f"unigpu.dev-vgpu-{slot}.json").unlink()
    await machine.kubelet.prestart(pod, "main")
    assert machine.edits(pod) == before

    await machine.api.set_down(False)
    await machine.answers("/readyz", 200)
    await machine.kubelet.prestart(new, "main")
    changed = copy.deepcopy(machine.api.objects["pods"]["default/pod"])
    changed["metadata"]["annotations"][names.ANNOTATION_LIMITS] = "memory=1Gi"
    await machine.api.put("pods", changed)
    await until(lambda: policy.unpack(file.read_bytes()).gpus[0].memory == 1 << 30, "its limits change as before")
    assert "Traceback" not in machine.log.read_text()


async def _settled(machine: Machine) -> tuple[int, str]:
    await machine.answers("/readyz", 503)
    return await machine.get("/readyz")


async def test_which_of_several_containers_restarts_may_not_be_known(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", early=one(0, 500, role=Role.INIT), main=one(0, 1000))
    await machine.kubelet.prestart(pod, "early")
    await machine.api.set_down(True)
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.run()
    await until(lambda: machine.kubelet.healthy == 64, "slots")
    assert "knows no earlier run" in await refusal(machine, pod, "main")
    await machine.api.set_down(False)


async def test_a_container_that_restarts_waits_a_second_for_an_api_server_that_hangs(machine: Machine) -> None:
    """It takes requests and never answers: an agent that knows the pod, and one that has just started and doesn't."""
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(1, 1000))
    await machine.kubelet.prestart(pod, "main")
    new = await machine.create("new", main=one(1, 100))
    before = machine.edits(pod)
    machine.api.reachable.clear()
    for restarts in (1, 2):
        if restarts == 2:
            machine.kill()
            await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
            machine.run()
            await until(lambda: machine.kubelet.healthy == 64, "slots")
        await machine.kubelet.prestart(pod, "main")
        assert machine.edits(pod) == before
        said = [line for line in machine.log.read_text().splitlines() if "started again without the API server" in line]
        assert len(said) == restarts
        # One request was given up after that time; without it, three are made, of five seconds each.
        assert f"doesn't answer within {RESTART_PATIENCE:g} s" in said[-1]
    async with asyncio.timeout(KUBELET_WAITS):
        assert "knows no earlier run" in await refusal(machine, new), "what never ran here is refused"
    machine.api.reachable.set()
    await machine.answers("/readyz", 200)
