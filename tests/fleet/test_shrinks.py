"""Limits lowered for an urgent pod, behind a real kube-scheduler: it waits, is tried again, and gets the room."""

import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest

from bench.fleet import load, objects
from bench.fleet.control_plane import ControlPlane
from bench.fleet.objects import Json
from bench.fleet.parts import until
from tests.fleet import fleets
from unigpu import allocations, gpus, limits, lowering, names
from unigpu.lowering import Amounts, Lowerable, Record
from unigpu.units import MIB_PER_GIB, MiB
from unigpu_kube import client as clients
from unigpu_kube import objects as paths
from unigpu_kube import pods
from unigpu_kube.client import Client
from unigpu_kube.objects import Ref

GPUS = 2
LOW, URGENT = 70, 40
"""GiB of each pod. Two of the first fill the node's totals but for 20 GiB."""
IDLE = MiB(10 * MIB_PER_GIB)


class Agent:
    """The part of a node agent: what containers don't hold is offered, and lower limits are put in force."""

    def __init__(self, plane: ControlPlane, client: Client) -> None:
        self._plane, self._client = plane, client
        self._node = paths.node(objects.node_name(0))

    async def offer(self) -> None:
        node = await self._client.get(self._node)
        now = Amounts(MiB(LOW * MIB_PER_GIB))
        found = []
        for pod in await self._client.items(load.PODS):
            (share,) = allocations.load(pod["metadata"]["annotations"][names.ANNOTATION_ALLOCATION]).containers["main"]
            found.append(Lowerable(pod["metadata"]["uid"], "main", (share.gpu,), now, Amounts(IDLE)))
        text = lowering.dump(found, gpus.load(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY]))
        await self._client.patch(self._node, {"metadata": {"annotations": {names.ANNOTATION_LOWERABLE: text}}})

    async def put_in_force(self, pod: Json) -> None:
        """Report a pod's lowered limits, and raise the node's capacity by them."""
        metadata = pod["metadata"]
        wanted = limits.from_annotations(metadata["annotations"], ["main"])
        ref = Ref(metadata["namespace"], metadata["name"], metadata["uid"])
        text = limits.dump_applied(limits.Applied(wanted))
        await pods.annotate_by_status(self._client, ref, {names.ANNOTATION_LIMITS_APPLIED: text})
        memory = wanted["main"].memory
        assert memory is not None
        total = GPUS * objects.MEMORY + LOW * MIB_PER_GIB - memory
        amounts = {names.RESOURCE_MEMORY: str(total)}
        await self._client.patch(f"{self._node}/status", {"status": {"capacity": amounts, "allocatable": amounts}})


@pytest.fixture
async def agent(plane: ControlPlane) -> AsyncIterator[Agent]:
    """With an account whose annotations the webhook trusts."""
    async with contextlib.AsyncExitStack() as stack:
        config = plane.kubeconfig(names.ACCOUNT_SCHEDULER)
        yield Agent(plane, await stack.enter_async_context(clients.connect(config, deadline=30.0)))


async def lowered(plane: ControlPlane) -> dict[str, tuple[Json, Record]]:
    found = {}
    for pod in await plane.client.items(load.PODS):
        record = lowering.record(pod["metadata"].get("annotations") or {})
        if record is not None:
            found[pod["metadata"]["name"]] = pod, record
    return found


OWN = {names.RESOURCE_VGPU: 1, names.RESOURCE_MEMORY: URGENT * MIB_PER_GIB}
KEPT = {objects.UNIGPU.resource: URGENT}
"""The node has none of it, and the kube-scheduler leaves it out, but not where it asks whom a grown node helps."""


@pytest.mark.parametrize("asked", [OWN, KEPT], ids=["unigpu's resources", "a vendor's resources"])
@pytest.mark.parametrize("killed", [False, True], ids=["", "extender killed in between"])
async def test_nobody_is_evicted(plane: ControlPlane, agent: Agent, killed: bool, asked: Mapping[str, int]) -> None:
    await load.post(plane, paths.NODES, [objects.node(0, GPUS)])
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}}
    await plane.client.create("/apis/scheduling.k8s.io/v1/priorityclasses", priority | {"value": 1000})
    replica = plane.replica(arguments=["--shrink-before-evicting"])
    await replica.start()
    low = [f"low-{number}" for number in range(GPUS)]
    await load.post(plane, load.PODS, (objects.pod(name, {objects.UNIGPU.resource: LOW}) for name in low))
    before = await fleets.bound(plane, GPUS)
    await agent.offer()
    await load.post(plane, load.PODS, [objects.pod("urgent-0", asked, priorityClassName="high")])
    found: dict[str, tuple[Json, Record]] = {}

    async def some() -> bool:
        found.update(await lowered(plane))
        return bool(found)

    await until(some, "limits are lowered")
    ((name, (pod, record)),) = found.items()
    assert (record.purpose, record.before) == (f"{objects.NAMESPACE}/urgent-0", None)
    if killed:
        replica.extender.kill()
        replica.extender.start()
        await replica.ready()
    await agent.put_in_force(pod)
    after = await fleets.bound(plane, GPUS + 1)
    assert set(low) < set(after.bound)
    assert not after.faults
    uids = {one["metadata"]["uid"] for one in await plane.client.items(load.PODS)}
    assert pod["metadata"]["uid"] in uids
    assert not [one for one in await plane.client.items(load.PODS) if "deletionTimestamp" in one["metadata"]]
    assert (await lowered(plane)).keys() == {name}, "of one pod, and once"
    assert set(before.bound) == set(low)
