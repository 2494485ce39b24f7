"""Two replicas that take the lead from each other while pods come and go."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from bench.fleet import books, load
from bench.fleet.control_plane import ControlPlane, Replica
from bench.fleet.parts import until
from tests.fleet import fleets

NODES = 5
LEASE = (6, 4, 1)
"""Longer than the extender's own measure of a pause, as the chart's is, and short enough for a test."""
BETWEEN = 5.0
"""Seconds for which each leads."""


class Churn:
    """Pods that come all the time, each of which ends once it is one of the oldest."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._numbers = itertools.count()
        self.there: list[str] = []
        self.stopped = False

    async def run(self) -> None:
        """Create pods, and end the oldest once the fleet is half full, until stopped."""
        while not self.stopped:
            name = f"pod-{next(self._numbers)}"
            await fleets.create(self._plane, [name])
            self.there.append(name)
            if len(self.there) > NODES * fleets.PER_NODE // 2:
                await fleets.delete(self._plane, [self.there.pop(0)])
            await asyncio.sleep(0.05)


@asynccontextmanager
async def churning(plane: ControlPlane) -> AsyncIterator[Churn]:
    """Let pods come and go while the block lasts; what went wrong with that is raised at its end."""
    churn = Churn(plane)
    async with asyncio.TaskGroup() as group:
        group.create_task(churn.run())
        try:
            yield churn
        finally:
            churn.stopped = True


async def test_leader_changes(plane: ControlPlane, soak: bool) -> None:
    """By a lease that is given back, and by kill -9 of a whole replica, in turn: no pod is lost, none bound twice."""
    await load.create_nodes(plane, NODES, fleets.GPUS)
    leader, other = plane.replica("-1", lease=LEASE), plane.replica("-2", lease=LEASE)
    await leader.start()
    await until(lambda: _leads(plane, ""), "the first leads")
    await other.start()
    async with churning(plane) as churn:
        for gives_back in _changes(soak):
            await asyncio.sleep(BETWEEN if soak else 0)
            await _takes_over(plane, leader, gives_back=gives_back)
            leader, other = other, leader
            seen = len(churn.there)
            await until(lambda seen=seen: _goes_on(plane, churn, seen), "the new leader binds")  # type: ignore[misc]
    await fleets.settled(plane, churn.there)
    await fleets.agree(plane, leader, other)


def _changes(soak: bool) -> Iterator[bool]:
    """Yield for each change whether the leader gives its lease back."""
    yield from itertools.islice(itertools.cycle((True, False)), 24 if soak else 2)


async def _takes_over(plane: ControlPlane, leader: Replica, *, gives_back: bool) -> None:
    """End the leader, wait for another, and let the former wait for its turn."""
    former = await plane.lease_holder()
    if gives_back:
        leader.scheduler.stop()
    else:
        leader.scheduler.kill()
        leader.extender.kill()
    await until(lambda: _leads(plane, former), "another leads")
    if not gives_back:
        leader.extender.start()
        await leader.ready()
    leader.scheduler.start()


async def _leads(plane: ControlPlane, former: str) -> bool:
    holder = await plane.lease_holder()
    return bool(holder) and holder != former


async def _goes_on(plane: ControlPlane, churn: Churn, seen: int) -> bool:
    """Whether a pod is bound that was created after the change."""
    bound = set((await books.read(plane)).bound)
    return any(name in bound for name in churn.there[-max(len(churn.there) - seen, 1) :])
