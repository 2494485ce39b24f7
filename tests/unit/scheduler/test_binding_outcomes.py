"""Whatever becomes of each sending of a binding, and whenever: no share is given twice, and none stays taken in vain.

The API server carries a sending out at once, or later, or never; answers it, or doesn't, or refuses it. Pods can be
read, or can't. Time passes, and another replica leads for a while, or not, and binds pods too.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler import binding, wire
from scheduler.binding import Binder
from scheduler.cache import ClusterCache
from scheduler.staleness_guard import IDLE, LANDING, StalenessGuard
from unigpu import allocations, errors, names, requests
from unigpu.gpus import Gpu
from unigpu.ledger import CapacityLedger
from unigpu.modes import NodeMode
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB
from unigpu_kube import errors as kube_errors
from unigpu_service.runtime import Supervisor

Json = dict[str, Any]
NODE, GPU, SHARE = "n", MiB(100), MiB(60)
PODS = ("a", "b", "c")


@dataclass(frozen=True)
class Fate:
    """What becomes of one sending."""

    lands: float | None
    """Seconds after which it is carried out; 0: before the answer; None: never."""
    answer: int
    """HTTP status; 0: no answer."""


FATES = st.one_of(
    st.just(Fate(0, 201)),
    st.builds(Fate, st.none() | st.just(0.0) | st.floats(0.01, 150.0), st.just(0)),
    st.builds(Fate, st.none(), st.sampled_from([403, 422, 409])),
)
STEPS = st.tuples(st.sampled_from(PODS), st.sampled_from([0.1, 1.0, IDLE - LANDING - 0.1, IDLE + 1, 60.0]))
"""A pod, and the time that passes after a binding of it."""
READS = st.sampled_from([200, 200, 200, 403, 0])


@dataclass
class Played:
    """An API server with three pods, and a clock."""

    fates: list[Fate]
    reads: list[int]
    now: float = 0.0
    later: list[tuple[float, str, Json]] = field(default_factory=list)
    outlives: bool = True
    """Whether a sending may be carried out at any time after its sender gave up, not just `LANDING` later."""
    deadline: float = 5.0

    def __post_init__(self) -> None:
        wish = requests.dump(PodRequest({"main": Request(gpus=1, memory=SHARE)}))
        self.pods: dict[str, Json] = {
            name: {
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "uid": name,
                    "annotations": {names.ANNOTATION_REQUEST: wish},
                },
                "spec": {"containers": [{"name": "main"}]},
                "status": {"phase": "Pending"},
            }
            for name in PODS
        }

    def bound(self) -> list[str]:
        return [name for name, pod in self.pods.items() if pod["spec"].get("nodeName")]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for one in [one for one in self.later if one[0] <= self.now]:
            self.later.remove(one)
            self._carry_out(*one[1:])

    def _carry_out(self, name: str, body: Json) -> bool:
        pod = self.pods[name]
        if pod["spec"].get("nodeName"):
            return False
        pod["spec"]["nodeName"] = body["target"]["name"]
        pod["metadata"]["annotations"] |= body["metadata"]["annotations"]
        assert len(self.bound()) <= 1, "the share was given twice"
        return True

    async def create(self, path: str, body: Json, *, within: float) -> Json:
        assert 0 < within <= self.deadline
        await asyncio.sleep(0)
        name = body["metadata"]["name"]
        fate = self.fates.pop() if self.fates else Fate(0, 201)
        if fate.lands == 0 and not self._carry_out(name, body) and fate.answer:
            raise kube_errors.of_status(409, "pod is assigned already")
        if fate.lands and (self.outlives or fate.lands <= within + LANDING):
            self.later.append((self.now + fate.lands, name, body))
        if not fate.answer:
            raise errors.Unavailable("no answer")
        if fate.answer >= 300:
            raise kube_errors.of_status(fate.answer, "told to refuse")
        return {}

    async def find(self, path: str) -> Json | None:
        await asyncio.sleep(0)
        status = self.reads.pop() if self.reads else 200
        if not status:
            raise errors.Unavailable("no answer")
        if status >= 300:
            raise kube_errors.of_status(status, "told to refuse")
        return self.pods[path.rpartition("/")[2]]

    async def on_node(self, _: str) -> list[Json]:
        await asyncio.sleep(0)
        return [pod for pod in self.pods.values() if pod["spec"].get("nodeName") == NODE]


@settings(deadline=None)
@given(st.lists(FATES, max_size=8), st.lists(READS, max_size=8), st.lists(STEPS, max_size=12))
def test_no_share_is_given_twice(fates: list[Fate], reads: list[int], steps: list[tuple[str, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(_played(Played(fates, reads), [(0, *step) for step in steps], patch))


@settings(deadline=None)
@given(
    st.lists(FATES, max_size=8),
    st.lists(READS, max_size=8),
    st.lists(st.tuples(st.integers(0, 1), STEPS), max_size=12),
)
@example(
    fates=[Fate(5.5, 0), Fate(None, 0)],  # the last one comes first
    reads=[],
    steps=[(0, ("a", IDLE - LANDING - 0.1)), (1, ("b", 60.0))],
)
def test_none_is_given_by_two_that_lead_in_turn(
    fates: list[Fate], reads: list[int], steps: list[tuple[int, tuple[str, float]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        api = Played(fates, reads, outlives=False)
        asyncio.run(_played(api, [(leader, *step) for leader, step in steps], patch))


@dataclass
class Replica:
    """An extender: its books, and what writes bindings."""

    cache: ClusterCache
    guard: StalenessGuard
    binder: Binder


def _replica(api: Played, supervisor: Supervisor) -> Replica:
    cache = ClusterCache(CapacityLedger())
    cache.ledger.set_node(NODE, [Gpu(GpuUuid("GPU-a"), 0, 0, "X", GPU)], NodeMode.MIXED, None)
    guard = StalenessGuard(api.on_node, cache, lambda: api.now)
    return Replica(cache, guard, Binder(api, cache, Rules(), guard, supervisor))  # type: ignore[arg-type]


async def _played(api: Played, steps: list[tuple[int, str, float]], patch: pytest.MonkeyPatch) -> None:
    """Each step: which replica leads, the pod that it binds, and the time that passes then."""
    turn = asyncio.Event()

    class NextTurn:
        """Pauses until time has passed."""

        async def pause(self) -> None:
            await asyncio.sleep(0)
            await turn.wait()

    patch.setattr(binding, "Backoff", NextTurn)
    requested = (0, 0.0)
    try:
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(group, asyncio.Event())
            replicas = [_replica(api, supervisor) for _ in range(2)]

            async def passes(seconds: float) -> None:
                api.pass_time(seconds)
                turn.set()
                await asyncio.sleep(0)
                turn.clear()
                for _ in range(20):  # each attempt makes a few requests
                    await asyncio.sleep(0)

            async def step(leader: int, name: str, seconds: float) -> None:
                """As a kube-scheduler with this pod: it isn't tried again once it is seen as bound."""
                nonlocal requested
                former, last = requested
                if leader != former:  # a lease doesn't change hands faster
                    await passes(max(0.0, last + IDLE - api.now))
                requested = leader, api.now
                if not api.pods[name]["spec"].get("nodeName"):
                    replica = replicas[leader]
                    replica.guard.note_request()
                    with contextlib.suppress(errors.UnigpuError):
                        args = wire.BindingArgs(PodName=name, PodNamespace="default", PodUID=name, Node=NODE)
                        await replica.binder.bind(args)
                await passes(seconds)

            for one in steps:
                await step(*one)
            api.fates.clear()
            api.reads.clear()
            for _ in range(3):
                for name in PODS:
                    await step(0, name, binding.LATE)
            assert len(api.bound()) == 1, "the share stays taken in vain"
            (name,) = api.bound()
            ledger = replicas[0].cache.ledger
            booked = [uid for uid, _ in ledger.bookings()]
            # What another replica bound is learned by watching, which isn't played.
            assert booked == [name] or (not booked and any(leader for leader, *_ in steps)), "the books aren't true"
            text = api.pods[name]["metadata"]["annotations"][names.ANNOTATION_ALLOCATION]
            assert allocations.load(text).node == NODE
            supervisor.cancel()
    except* asyncio.CancelledError:
        pass
