"""Pods that come as fast as the API server takes them, and go: when each was created, bound and gone."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.fleet import objects
from bench.fleet.control_plane import ControlPlane
from bench.fleet.objects import Form, Json
from bench.fleet.parts import Stuck
from bench.fleet.report import Round
from unigpu_kube import objects as paths
from unigpu_kube import reflector
from unigpu_kube.objects import Ref

AT_ONCE = 24
"""Requests of the creator under way. The API server keeps 25 idle connections to a webhook; more requests at once would
make it open and close some for each pod."""
STALLED = 90.0
"""Seconds without a binding after which no more are expected."""
_SILENCE = 3600.0
"""Seconds: a control plane that is stopped says nothing."""
PODS = f"{paths.NAMESPACES}/{objects.NAMESPACE}/pods"


@dataclass(slots=True)
class Times:
    """Seconds of one clock, by the pod's name."""

    created: dict[str, float] = field(default_factory=dict)
    bound: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)

    def round(self, first: int) -> Round:
        """Return the rates of the pods from the `first` created on, all of which are bound."""
        names = list(self.created)[first:]
        created, bound = [self.created[name] for name in names], sorted(self.bound[name] for name in names)
        low, high = len(bound) // 10, len(bound) * 9 // 10
        return Round(
            created=len(names) / (max(created) - min(created)),
            bound=len(names) / (bound[-1] - min(created)),
            sustained=(high - low) / (bound[high] - bound[low]),
        )

    def ending(self) -> float:
        """Pods gone a second."""
        found = self.gone.values()
        return len(found) / (max(found) - min(found))

    def waits(self) -> list[float]:
        """Seconds from creation to binding, in ascending order."""
        return sorted(at - self.created[name] for name, at in self.bound.items() if name in self.created)


async def create_nodes(plane: ControlPlane, count: int, gpus: int) -> None:
    """Create nodes, and wait until each is played."""
    await post(plane, paths.NODES, (objects.node(number, gpus) for number in range(count)))

    async def ready() -> bool:
        rows = await plane.client.rows(paths.NODES)
        return len([row for row in rows if row.cells["Status"] == "Ready"]) == count

    await plane.parts["kwok"].until(ready, f"{count} nodes are ready")


async def post(
    plane: ControlPlane, path: str, documents: Iterable[Json], done: Callable[[str], None] = lambda _: None
) -> None:
    """Create objects, many at once; `done` is called with the name of each. Raises Stuck for a refusal."""
    waiting = iter(documents)

    async def work() -> None:
        for document in waiting:
            body = json.dumps(document)
            headers = {"Content-Type": "application/json"}
            async with plane.session.post(plane.server + path, data=body, headers=headers) as response:
                text = await response.read()
                if response.status != 201:
                    raise Stuck(f"{document['metadata']['name']} refused: {response.status} {text.decode()[:400]}")
            done(document["metadata"]["name"])

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


@contextlib.asynccontextmanager
async def watched(plane: ControlPlane) -> AsyncIterator[Times]:
    """Note while the block lasts when pods are bound and gone."""
    times = Times()

    def bound(found: Sequence[Ref]) -> None:
        for ref in found:
            times.bound.setdefault(ref.name, time.perf_counter())

    # Of metadata alone: the reader is on the same machine as what it measures.
    source = reflector.Source(PODS, {"fieldSelector": "spec.nodeName!="}, metadata_only=True, silence=_SILENCE)
    sink = reflector.Sink(
        paths.ref,
        lambda listing: bound(listing.items),
        lambda ref: bound([ref]),
        lambda ref: times.gone.__setitem__(ref.name, time.perf_counter()),
    )
    follower = reflector.Reflector(plane.client, source, sink)
    task = asyncio.create_task(follower.run())
    try:
        await follower.synced.wait()
        yield times
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def bind_all(plane: ControlPlane, form: Form, first: int, count: int, times: Times) -> None:
    """Create pods with numbers from `first` on, and wait until all are bound. Raises Stuck where no more are."""

    def created(name: str) -> None:
        times.created[name] = time.perf_counter()

    await post(plane, PODS, (objects.load_pod(form, number) for number in range(first, first + count)), created)
    await _all(times.bound, first + count, "bound")


async def running(plane: ControlPlane) -> None:
    """Wait until every pod runs."""
    pending: dict[str, str | int] = {"fieldSelector": "status.phase=Pending", "limit": 1}

    async def none() -> bool:
        return not (await plane.client.get(PODS, pending))["items"]

    await plane.parts["kwok"].until(none, "every pod runs")


async def end_all(plane: ControlPlane, names: Sequence[str], times: Times) -> None:
    """End pods as a person does, by deletion with a grace period, and wait until all are gone."""
    waiting = iter(names)

    async def work() -> None:
        for name in waiting:
            async with plane.session.delete(f"{plane.server}{PODS}/{name}") as response:
                await response.read()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    await _all(times.gone, len(names), "gone")


async def _all(found: dict[str, float], count: int, what: str) -> None:
    seen, since = len(found), time.monotonic()
    while len(found) < count:
        await asyncio.sleep(0.05)
        if len(found) > seen:
            seen, since = len(found), time.monotonic()
        if time.monotonic() - since > STALLED:
            raise Stuck(f"{seen} of {count} pods are {what}, and none more for {STALLED:g} s")
