"""A pod for which one node of many has room."""

from bench.fleet import load, objects
from bench.fleet.control_plane import ControlPlane
from tests.fleet import fleets
from unigpu.units import MiB

NODES = 400
"""A kube-scheduler that looks for enough nodes only would look at 188 of them, from where it stopped the last time."""
PODS = 8
WANTED = 60
"""GiB."""


async def test_the_one_node_is_found(plane: ControlPlane) -> None:
    """All nodes have room by their totals, and one has a GPU with room. No pod has to wait for a change elsewhere."""
    small = (objects.node(number, 2, MiB(40_960)) for number in range(NODES - 1))
    await load.post(plane, "/api/v1/nodes", [*small, objects.node(NODES - 1, PODS)])
    replica = plane.replica()
    await replica.start()
    for number in range(PODS):
        name = f"large-{number}"
        await load.post(plane, load.PODS, [objects.pod(name, {objects.UNIGPU.resource: WANTED})])
        found = await fleets.bound(plane, number + 1)
        assert name in found.bound
    assert {pod["spec"]["nodeName"] for pod in await plane.client.items(load.PODS)} == {objects.node_name(NODES - 1)}
    failed = [event for event in await plane.client.items(EVENTS) if event["reason"] == "FailedScheduling"]
    assert not failed, failed[0]["message"]


EVENTS = f"/api/v1/namespaces/{objects.NAMESPACE}/events"
