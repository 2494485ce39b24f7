"""Events on pods that no single GPU has room for: what they say, how many there are, and what is remembered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from scheduler import no_room
from scheduler.fit_cache import FitCache
from scheduler.no_room import NoRoomEvents
from scheduler.nominations import Nominations, Nominee
from unigpu import errors, names
from unigpu.allocations import GpuUsage
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu.fit import Node
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Request
from unigpu.survey import Survey
from unigpu.units import GpuUuid, MiB, Percent
from unigpu_kube.errors import Rejected

RULES = Rules()
Json = dict[str, Any]


class Api:
    """Keeps what is created."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.refuse: Exception | None = None
        self.refused = 0

    async def create(self, path: str, document: Json) -> Json:
        if self.refuse is not None:
            self.refused += 1
            raise self.refuse
        assert path == f"/api/v1/namespaces/{document['involvedObject']['namespace']}/events"
        self.events.append(document)
        return document

    @property
    def said(self) -> list[str]:
        return [event["message"] for event in self.events]


class Cluster:
    """Nodes of two GPUs of 1000 MiB, and the events about pods that they have no room for."""

    def __init__(self, count: int = 1) -> None:
        self.now = 0.0
        self.api = Api()
        self.ledger = CapacityLedger()
        self.nodes = [f"n{number}" for number in range(count)]
        for name in self.nodes:
            self.ledger.set_node(name, self.gpus(name), NodeMode.MIXED, None)
        self.nominations = Nominations(lambda: self.now)
        fits = FitCache(self.ledger, RULES)
        api: Any = self.api
        self.events = NoRoomEvents(api, self.ledger, fits, RULES, self.nominations, clock=lambda: self.now)

    def gpus(self, name: str) -> list[Gpu]:
        return [Gpu(GpuUuid(f"{name}-{index}"), index, index, "T", MiB(1000)) for index in range(2)]

    def take(self, pod: str, gpu: int, memory: int, node: str = "n0", cores: int = 10, priority: int = 0) -> None:
        use = {GpuUuid(f"{node}-{gpu}"): GpuUsage(MiB(memory), cores, 1)}
        self.ledger.book(f"uid-{pod}", Booking(pod, node, use, priority=priority))

    def note(self, uid: str = "u", memory: int = 700, nodes: list[str] | None = None, **more: Any) -> None:
        spec = {"containers": [{"name": "main"}], **more.pop("spec", {})}
        request = Request(**{"gpus": 1, "memory": MiB(memory)} | more)
        pod = {"metadata": {"name": f"p-{uid}", "namespace": "team", "uid": uid}, "spec": spec}
        self.events.note(pod, PodRequest({"main": request}), self.nodes if nodes is None else nodes)

    async def settle(self) -> None:
        """Until nothing is left to be done now."""
        await until(lambda: not self.events._waiting)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60.0):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(no_room, "DELAY", 0.0)
    monkeypatch.setattr(no_room, "PACE", 0.0)
    found = Cluster()
    found.take("team/a", 0, 600)
    found.take("other/b", 1, 400)
    task = asyncio.create_task(found.events.run())
    yield found
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def facts(uid: str, node: str = "", ended: bool = False) -> PodFacts:
    return PodFacts(uid, f"team/p-{uid}", node, ended)


async def test_what_is_said(cluster: Cluster) -> None:
    cluster.note()
    await cluster.settle()
    (event,) = cluster.api.events
    assert (event["reason"], event["type"]) == (names.EVENT_NO_ROOM, "Warning")
    assert event["involvedObject"]["uid"] == "u"
    assert event["message"] == (
        "The totals of node n0 have room for the pod, and its GPUs don't, so nobody is evicted there: "
        "container main needs 1 GPU with 700 MiB free: 2 of 2 with too little free memory. "
        "The most that is free on one GPU: 600 MiB (GPU 1 of node n0). "
        "With up to 600 MiB instead of 700 MiB, the pod fits on node n0. "
        "Once pod team/a has ended, node n0 takes it."
    ), "a pod of another namespace and of equal priority isn't named"


async def test_a_pod_that_was_tried_on_one_node_first_is_told_of_all(cluster: Cluster) -> None:
    cluster.ledger.set_node("n1", cluster.gpus("n1"), NodeMode.MIXED, None)
    for gpu in range(2):
        cluster.take(f"other/c{gpu}", gpu, 350, "n1")
    cluster.note(nodes=["n0"])  # as the kube-scheduler asks where the pod was nominated
    cluster.note(nodes=["n0", "n1"])
    await cluster.settle()
    (said,) = cluster.api.said
    assert said.startswith("The totals of 2 nodes have room for the pod")
    assert "The most that is free on one GPU: 650 MiB (GPU 0 of node n1)." in said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"memory": 4000}, "No GPU of this cluster is large enough: the largest has 1000 MiB. With up to 600 MiB"),
        (
            {"memory": 0, "cores": Percent(95)},
            "The most that is free on one GPU: 90 % of compute time (GPU 0 of node n0).",
        ),
        ({"memory": 0, "memory_percent": Percent(70)}, "With up to 60 % of memory instead of 70 %"),
        ({"memory": 0, "whole": True}, "2 of 2 not empty. No GPU is empty. Once pod team/a has ended"),
        ({"memory": 100, "gpus": 3}, "node has 2. The most that is free on one GPU: 600 MiB"),
    ],
)
async def test_other_requests(cluster: Cluster, asked: Json, said: str) -> None:
    cluster.note(**asked)
    await cluster.settle()
    assert said in cluster.api.said[0]


async def test_several_nodes_and_gpus_elsewhere_that_would_be_large_enough(cluster: Cluster) -> None:
    for name, memory in (("n1", 800), ("n2", 300)):
        cluster.ledger.set_node(name, cluster.gpus(name)[:1], NodeMode.MIXED, None)
        cluster.take(f"t/{name}", 0, memory, name)
    large = [Gpu(GpuUuid("large"), 0, 0, "T", MiB(9000))]
    cluster.ledger.set_node("tainted", large, NodeMode.MIXED, None)
    cluster.note(memory=2000, nodes=["n2", "n1", "n0"])
    await cluster.settle()
    (said,) = cluster.api.said
    assert said.startswith("The totals of 3 nodes have room for the pod, and their GPUs don't")
    assert "on node n2, container main needs 1 GPU with 2000 MiB free: 1 of 1 too small." in said
    assert "large enough" not in said and "tainted" not in said
    assert "With up to 700 MiB instead of 2000 MiB, the pod fits on node n2." in said


async def test_pods_of_other_namespaces_that_give_way_are_proposed_by_their_uid(cluster: Cluster) -> None:
    cluster.ledger.release("uid-other/b")
    cluster.ledger.book("0a1b", Booking("other/b", "n0", {GpuUuid("n0-1"): GpuUsage(MiB(400), 10, 1)}, priority=-1))
    cluster.note()
    await cluster.settle()
    (said,) = cluster.api.said
    assert said.endswith("Once pod 0a1b of another namespace has ended, node n0 takes it.")
    assert "other/b" not in said


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, False),
        (
            {
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
                }
            },
            False,
        ),
        ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}, True),
    ],
)
async def test_a_cordoned_node_is_named_unless_the_pod_chooses_nodes(cluster: Cluster, spec: Json, named: bool) -> None:
    cluster.ledger.set_node("closed", cluster.gpus("closed"), NodeMode.MIXED, None)
    node = NodeFacts(
        "closed", tuple(cluster.gpus("closed")), NodeMode.MIXED, None, condition="Ready,SchedulingDisabled"
    )
    cluster.events.nodes_listed([node])
    cluster.note(spec=spec or {"affinity": None})
    await cluster.settle()
    assert ("Node closed would fit, and is cordoned: `kubectl uncordon closed`." in cluster.api.said[0]) == named
    cluster.events.node_changed(NodeFacts("closed", node.gpus, NodeMode.MIXED, None, condition="Ready"))
    cluster.note("other")
    await cluster.settle()
    assert "closed" not in cluster.api.said[1]
    cluster.events.node_changed(node)
    cluster.events.node_gone("closed")
    assert not cluster.events._closed


async def test_a_pod_that_waits_for_days_gets_a_few_events(cluster: Cluster) -> None:
    """The kube-scheduler tries it every half minute, and what is free is never twice the same."""
    for minute in range(7 * 24 * 60):
        cluster.now += 60.0
        cluster.take("team/a", 0, 600 + minute % 390)
        cluster.take("other/b", 1, 601 + minute % 390)
        cluster.note()
        await cluster.settle()
    assert 3 <= len(cluster.api.events) <= 7
    assert len({event["metadata"]["name"] for event in cluster.api.events}) == len(cluster.api.events)


async def test_the_same_is_said_once(cluster: Cluster) -> None:
    for _ in range(100):
        cluster.now += no_room.AGAIN
        cluster.note()
        await cluster.settle()
    assert len(cluster.api.events) == 1


async def test_an_extender_that_starts_again_writes_the_same_event(cluster: Cluster) -> None:
    cluster.note()
    await cluster.settle()
    cluster.events.pods_listed([])
    cluster.note()
    await cluster.settle()
    first, second = cluster.api.events
    assert first["metadata"]["name"] == second["metadata"]["name"], "to the API server it is one"


@pytest.mark.parametrize(
    "how",
    [
        lambda events: events.pod_changed(facts("u", "n0")),
        lambda events: events.pod_changed(facts("u", ended=True)),
        lambda events: events.pod_gone("u"),
        lambda events: events.pods_listed([facts("u", "n0")]),
    ],
)
async def test_a_pod_is_forgotten_when_it_is_bound_or_gone(cluster: Cluster, how: Any) -> None:
    cluster.note()
    await cluster.settle()
    assert "u" in cluster.events._known
    cluster.events.pod_changed(facts("u"))
    cluster.events.pods_listed([facts("u")])
    assert "u" in cluster.events._known
    how(cluster.events)
    assert not cluster.events._known


async def test_nothing_is_said_of_a_pod_that_has_been_helped(cluster: Cluster) -> None:
    cluster.note("bound")
    cluster.ledger.book("bound", Booking("team/p-bound", "n0", {GpuUuid("n0-0"): GpuUsage(MiB(1), 0, 1)}))
    cluster.note("gone")
    cluster.events.pod_gone("gone")
    cluster.note("awaited")
    nominee = Nominee("awaited", "team/p-awaited", "n0", 0, PodRequest({"main": Request(1)}), {})
    cluster.nominations.hold(nominee, until=5.0)
    await cluster.settle()
    cluster.nominations.pod_gone("awaited")
    cluster.nominations.pod_changed(
        PodFacts("nominated", "team/p-nominated", "", False, nominated="n0", wish=PodRequest({"main": Request(1)}))
    )
    cluster.note("nominated")
    cluster.note("fits")
    cluster.ledger.release("uid-team/a")
    await cluster.settle()
    cluster.note("nowhere", nodes=[])
    cluster.note("unknown", nodes=["without-gpus"])
    await cluster.settle()
    assert cluster.api.events == [] and not cluster.events._known


async def test_a_pod_that_goes_while_its_event_is_written_is_not_remembered(cluster: Cluster) -> None:
    create = cluster.api.create

    async def slow(path: str, document: Json) -> Json:
        cluster.events.pod_gone("u")
        return await create(path, document)

    cluster.api.create = slow  # type: ignore[method-assign]
    cluster.note()
    await cluster.settle()
    await until(lambda: cluster.api.events)
    cluster.note("later")
    await cluster.settle()
    assert cluster.events._known.keys() == {"later"}


@pytest.mark.parametrize(
    "error",
    [errors.Unavailable("gone"), Rejected(403, "no"), KeyError("a fault of ours"), AssertionError("another")],
)
async def test_what_could_not_be_written_is_said_at_the_next_attempt(cluster: Cluster, error: Exception) -> None:
    cluster.api.refuse = error
    cluster.note()
    await cluster.settle()
    assert cluster.api.refused == 1
    cluster.api.refuse = None
    cluster.note()
    await cluster.settle()
    assert len(cluster.api.events) == 1


async def test_memory_and_events_are_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(no_room, "MOST_KNOWN", 100)
    for number in range(300):
        cluster.note(f"u{number}")
    assert len(cluster.events._waiting) == no_room.MOST_WAITING
    for number in range(300):
        cluster.note(f"u{number}")
        if number % 10 == 9:
            await cluster.settle()
    assert len(cluster.events._known) == 100
    assert len(cluster.api.events) == 300


async def test_the_whole_fleet_gets_one_event_at_a_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pod's is due only when the clock says so."""
    monkeypatch.setattr(no_room, "PACE", 3600.0)
    cluster.note("one")
    cluster.note("two")
    await until(lambda: "one" not in cluster.events._waiting)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(cluster.api.events) == 1
    cluster.now += 3600.0
    cluster.note("three")  # wakes it
    await until(lambda: "two" not in cluster.events._waiting)
    assert len(cluster.api.events) == 2


async def test_pods_of_one_controller_are_searched_for_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    real = Survey.closest

    def closest(seen: Survey) -> list[Node]:
        searched.append(seen)
        return real(seen)

    monkeypatch.setattr(Survey, "closest", closest)
    cluster.ledger.set_node("n1", cluster.gpus("n1"), NodeMode.MIXED, None)
    for index in range(2):
        cluster.take(f"t/{index}", index, 900, "n1")
    for number in range(20):
        cluster.note(f"u{number}", nodes=["n0", "n1"] if number % 2 else ["n1", "n0"])
    await cluster.settle()
    assert len(searched) == 1
    assert len(cluster.api.events) == 20 and len(set(cluster.api.said)) == 1
    cluster.now += no_room.FRESH
    cluster.note("later", nodes=["n0", "n1"])
    await cluster.settle()
    assert len(searched) == 2
