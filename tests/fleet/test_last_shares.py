"""Many pods at once for the last shares."""

from bench.fleet import books, load
from bench.fleet.books import Holdings
from bench.fleet.control_plane import ControlPlane
from bench.fleet.parts import until
from tests.fleet import fleets

NODES, LAST, AT_ONCE = 10, 100, 200
ROOM = NODES * fleets.PER_NODE
FREED = 10


async def test_two_hundred_pods_for_the_last_hundred_shares(plane: ControlPlane) -> None:
    """Exactly as many are bound as there is room for; the others wait with the reason, and get what comes free."""
    await load.create_nodes(plane, NODES, fleets.GPUS)
    replica = plane.replica()
    await replica.start()
    await fleets.create(plane, (f"before-{number}" for number in range(ROOM - LAST)))
    await fleets.bound(plane, ROOM - LAST)

    await fleets.create(plane, (f"late-{number}" for number in range(AT_ONCE)))
    await fleets.bound(plane, ROOM)
    left = Holdings()

    async def all_know_why() -> bool:
        nonlocal left
        left = await books.read(plane)
        return all("main needs" in reason for reason in left.pending.values())

    await until(all_know_why, "each waiting pod has a reason")
    assert len(left.pending) == AT_ONCE - LAST
    assert await plane.bindings() == {"201": ROOM}, "each binding is written once, and none is refused"
    await fleets.agree(plane, replica)

    await fleets.delete(plane, [name for name in left.bound if name.startswith("before")][:FREED])
    await until(lambda: _waiting(plane, AT_ONCE - LAST - FREED), f"{FREED} more are bound")
    found = await fleets.agree(plane, replica)
    assert len(found.bound) == ROOM
    assert await plane.bindings() == {"201": ROOM + FREED}


async def _waiting(plane: ControlPlane, count: int) -> bool:
    return len((await books.read(plane)).pending) == count
