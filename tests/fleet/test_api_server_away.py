"""The API server is slow, doesn't answer, restarts, and forgets what watches have seen, while pods come and go.

Its creator, its webhook and the played nodes reach it directly; kube-schedulers and extenders by two wires.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from bench.fleet import books, control_plane, load, objects
from bench.fleet.control_plane import ControlPlane, Replica
from bench.fleet.parts import until
from tests.fleet import fleets, wire
from tests.fleet.wire import Wire
from unigpu import errors, names

NODES = 10
MOST = NODES * fleets.PER_NODE // 2
"""Pods that are there at once. An extender that doesn't hear of their ends has room for as many again."""
LEASE = (9, 3, 1)
"""Between the last request of a leader that ends and the first of another lie six seconds at least; as the chart's
five, that isn't less than the extender's own measure of a pause."""
SILENCE = "600"
"""Seconds without a byte after which a watch counts as dead: more than this test takes. So no extender is helped by
beginning its watches again; the API server's end of a watch, or what follows in it, must be enough."""
SLOW = 0.1
"""Seconds that a piece of an answer takes over the slow wire, and a piece of a request too."""
MORE = 10
"""Pods that come while the wire is cut."""


@dataclass
class Churn:
    """Pods that come all the time, each of which ends once it is one of the oldest. Who makes them never gives up."""

    plane: ControlPlane
    there: list[str] = field(default_factory=list)
    made: int = 0
    stopped: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def stop(self) -> None:
        """Let what is under way come to an end, and nothing more happen."""
        self.stopped = True
        await self.idle.wait()

    async def run(self) -> None:
        """Create pods, and end the oldest once the fleet is half full, until stopped."""
        try:
            await self._run()
        finally:
            self.idle.set()  # also where it has failed: nobody waits in vain

    async def _run(self) -> None:
        for number in itertools.count():
            if self.stopped:
                return
            name = f"pod-{number}"
            body = objects.pod(name, {objects.UNIGPU.resource: fleets.SHARE})
            await self._insist("post", load.PODS, (201, 409), body)
            self.there.append(name)
            self.made += 1
            if len(self.there) > MOST:
                await self._insist("delete", f"{load.PODS}/{self.there.pop(0)}", (200, 202, 404))
            await asyncio.sleep(0.03)

    async def _insist(self, method: str, path: str, done: tuple[int, ...], body: objects.Json | None = None) -> None:
        """Ask until the API server has done it; it may have done so before, and its answer was lost."""
        while True:
            try:
                async with self.plane.session.request(
                    method, self.plane.server + path, json=body, timeout=aiohttp.ClientTimeout(total=10)
                ) as answer:
                    if answer.status in done:
                        return
                    # While it starts, it doesn't know everybody's rights yet, nor reach the webhook.
                    assert answer.status in (401, 403, 429) or answer.status >= 500, await answer.text()
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)

    async def more(self, count: int) -> None:
        """Wait until so many more pods have been created."""
        aim = self.made + count
        await until(lambda: _holds(self.made >= aim), f"{count} more pods are created")

    async def goes_on(self) -> None:
        """Wait until a pod is bound that is created from now on."""
        since = self.made

        async def bound() -> bool:
            try:
                found = await books.read(self.plane)
            except errors.UnigpuError:  # it is just starting
                return False
            young = {f"pod-{number}" for number in range(since, self.made)}
            return not young.isdisjoint(found.bound)

        await until(bound, "a younger pod is bound")


async def _holds(what: bool) -> bool:
    return what


@dataclass
class Fleet:
    """All that is there."""

    plane: ControlPlane
    wires: tuple[Wire, Wire]
    """Of the kube-schedulers, and of the extenders."""
    churn: Churn
    replicas: list[Replica]
    faults: set[str] = field(default_factory=set)
    """What has been seen that must not be."""

    async def inspect(self) -> None:
        """Look at the books all the time. Never returns."""
        while True:
            with contextlib.suppress(errors.UnigpuError):
                self.faults.update((await books.read(self.plane)).faults)
            await asyncio.sleep(0.2)

    async def metric(self, name: str, label: str = "") -> float:
        """Return the sum of a metric over the extenders."""
        return sum([await replica.metric(name, label) for replica in self.replicas])

    async def restart(self) -> None:
        """Kill the API server, as `kill -9` does, and start it again."""
        self.plane.parts["kube-apiserver"].start()
        await self.plane.wait_for_api_server()


async def is_slow(fleet: Fleet) -> None:
    """Every piece takes its time."""
    for each in fleet.wires:
        each.delay = SLOW
    await fleet.churn.more(MORE)
    await fleet.churn.goes_on()
    for each in fleet.wires:
        each.delay = 0.0


async def answers_nothing(fleet: Fleet) -> None:
    """Bindings are written, and the extender that sent them doesn't hear of it."""
    _, wire_of_extenders = fleet.wires
    count, unknown = f"{names.METRIC_SCHEDULER_DURATION}_count", 'outcome="unknown"'
    wire_of_extenders.answers.clear()
    try:
        for _ in range(2):  # pods of the second round are placed while the outcome of the first isn't known
            before = await fleet.metric(count, unknown)

            async def given_up(before: float = before) -> bool:
                return await fleet.metric(count, unknown) > before

            await until(given_up, "an extender doesn't know how a binding ended")
            await fleet.churn.more(MORE)
    finally:
        wire_of_extenders.answers.set()


async def restarts(fleet: Fleet) -> None:
    """It is killed, and starts again."""
    await fleet.restart()


async def forgets(fleet: Fleet) -> None:
    """It is away, and what happened in that time is compacted: no watch can go on from where it was."""
    before = await fleet.metric(names.METRIC_SCHEDULER_RELISTS)
    for each in fleet.wires:
        each.cut()
    await fleet.churn.more(MORE)
    await compact(fleet.plane)
    await fleet.restart()
    for each in fleet.wires:
        each.mend()

    async def listed() -> bool:
        return await fleet.metric(names.METRIC_SCHEDULER_RELISTS) > before

    # That each extender has followed shows in the end, when all books are compared.
    await until(listed, "an extender lists again")


async def compact(plane: ControlPlane) -> None:
    """Have etcd forget all but the present."""
    async with plane.session.post(f"{plane.etcd}/v3/kv/range", json={"key": "AA=="}) as answer:
        revision = (await answer.json())["header"]["revision"]
    async with plane.session.post(f"{plane.etcd}/v3/kv/compaction", json={"revision": revision}) as answer:
        assert answer.status == 200, await answer.text()


FAULTS: list[Callable[[Fleet], Awaitable[None]]] = [is_slow, answers_nothing, restarts, forgets]


async def keep(replicas: list[Replica]) -> None:
    """Start schedulers again that end because they can't renew their lease, as a kubelet does."""
    while True:
        for replica in replicas:
            if not replica.scheduler.runs:
                replica.scheduler.start()
        await asyncio.sleep(0.5)


@pytest.fixture
async def fleet(plane: ControlPlane) -> AsyncIterator[Fleet]:
    """Two replicas at the ends of the wires, of which one leads; pods come and go until the test ends it."""
    await load.create_nodes(plane, NODES, fleets.GPUS)
    async with (
        wire.between(plane, control_plane.SCHEDULER) as of_schedulers,
        wire.between(plane, names.ACCOUNT_SCHEDULER) as of_extenders,
        working(plane) as churn,
    ):
        told = ("--watch-silence", SILENCE)
        replicas = [plane.replica(name, lease=LEASE, arguments=told) for name in ("-1", "-2")]
        for replica in replicas:
            await replica.start()
        found = Fleet(plane, (of_schedulers, of_extenders), churn, replicas)
        tasks = [asyncio.create_task(keep(replicas)), asyncio.create_task(found.inspect())]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def working(plane: ControlPlane) -> AsyncIterator[Churn]:
    """Let pods come and go while the block lasts; what went wrong with that is raised at its end."""
    churn = Churn(plane)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(churn.run())
        try:
            yield churn
        finally:
            task.cancel()


async def test_nothing_is_lost_or_doubled(fleet: Fleet, soak: bool) -> None:
    """After each fault pods are bound again; in the end all are, and both extenders' books are the annotations."""
    churn = fleet.churn
    await churn.goes_on()
    for fault in FAULTS * (5 if soak else 1):
        await fault(fleet)
        await churn.goes_on()
    assert not fleet.faults
    await churn.stop()
    print(f"{churn.made} pods were created, and {churn.made - len(churn.there)} ended, beside these faults")
    await fleets.settled(fleet.plane, churn.there)
    await fleets.agree(fleet.plane, *fleet.replicas)
    await fleets.delete(fleet.plane, churn.there)
    await fleets.none(fleet.plane)
    await fleets.agree(fleet.plane, *fleet.replicas)
