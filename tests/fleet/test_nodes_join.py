"""A node joins while pods wait for room: those that keep a vendor's resources are tried again too."""

from bench.fleet import books, load, objects
from bench.fleet.control_plane import ControlPlane
from bench.fleet.parts import until
from tests.fleet import fleets
from unigpu_kube import objects as paths

WAITING = 3


async def test_pods_that_wait_get_the_room_of_a_node_that_joins(plane: ControlPlane) -> None:
    await load.create_nodes(plane, 1, 1)
    replica = plane.replica()
    await replica.start()
    await load.post(plane, load.PODS, [objects.pod("first-0", {objects.UNIGPU.resource: 70})])
    await fleets.bound(plane, 1)
    names = [f"later-{number}" for number in range(WAITING)]
    await load.post(plane, load.PODS, (objects.pod(name, {objects.UNIGPU.resource: fleets.SHARE}) for name in names))

    async def all_wait() -> bool:
        found = await books.read(plane)
        return len([words for words in found.pending.values() if "Insufficient" in words]) == WAITING

    await until(all_wait, "they wait")
    await load.post(plane, paths.NODES, [objects.node(1, fleets.GPUS)])
    await fleets.bound(plane, 1 + WAITING)
