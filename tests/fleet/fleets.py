"""What the tests here do to a fleet: shares that come and go, and the comparison of all books."""

from collections.abc import Iterable

from bench.fleet import books, load, objects
from bench.fleet.books import Holdings
from bench.fleet.control_plane import ControlPlane, Replica
from bench.fleet.parts import until

SHARE = 30
"""GiB of each share: two have room on a GPU of 80, and a node of 8 GPUs has by its total room for 21, not 16."""
GPUS = 8
PER_NODE = GPUS * 2


async def create(plane: ControlPlane, names: Iterable[str]) -> None:
    """Create pods with one share each."""
    await load.post(plane, load.PODS, (objects.pod(name, {objects.UNIGPU.resource: SHARE}) for name in names))


async def delete(plane: ControlPlane, names: Iterable[str]) -> None:
    """Delete pods, as a person does."""
    for name in names:
        async with plane.session.delete(f"{plane.server}{load.PODS}/{name}") as response:
            assert response.status == 200, await response.text()


async def bound(plane: ControlPlane, count: int) -> Holdings:
    """Wait until exactly that many pods are bound, and return the books. More than that is a fault at once."""
    found = Holdings()

    async def so_many() -> bool:
        nonlocal found
        found = await books.read(plane)
        assert len(found.bound) <= count, f"{len(found.bound)} pods are bound, and there is room for {count}"
        return len(found.bound) == count

    await until(so_many, f"{count} pods are bound")
    return found


async def settled(plane: ControlPlane, names: Iterable[str]) -> None:
    """Wait until exactly these pods are bound, and those that were ended before are gone."""
    expected = sorted(names)

    async def all_bound() -> bool:
        return sorted((await books.read(plane)).bound) == expected

    await until(all_bound, f"these {len(expected)} pods are bound, and no others")


async def none(plane: ControlPlane) -> None:
    """Wait until there are no pods."""

    async def gone() -> bool:
        return not await plane.client.items(load.PODS)

    await until(gone, "all pods are gone")


async def agree(plane: ControlPlane, *replicas: Replica) -> Holdings:
    """Wait until each extender counts what the annotations say, and return the books, in which no fault may be."""
    found = await books.read(plane)
    assert not found.faults
    for replica in replicas:

        async def counted(replica: Replica = replica) -> bool:
            return await books.counted(replica, found)

        await replica.extender.until(counted, f"it counts {len(found.bound)} pods and {found.free} MiB free")
    return found
