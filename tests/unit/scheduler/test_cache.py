"""How lists, changes and assumptions add up to the ledger."""

from scheduler.cache import ClusterCache
from unigpu.allocations import Allocation, GpuUsage, Share
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

NODE = NodeFacts("n", (Gpu(GpuUuid("a"), 0, 0, "X", MiB(100)),), NodeMode.MIXED, None)
REQUEST = PodRequest({"main": Request(1, MiB(10))})


def allocation(memory: int, node: str = "n") -> Allocation:
    return Allocation(node, {"main": (Share(GpuUuid("a"), MiB(memory), Percent(0)),)})


def pod(uid: str, memory: int | None = None, ended: bool = False, node: str = "n") -> PodFacts:
    given = None if memory is None else allocation(memory, node)
    return PodFacts(uid, f"default/p{uid}", node, ended, given, {})


def cache() -> ClusterCache:
    found = ClusterCache(CapacityLedger())
    found.nodes_listed([NODE])
    return found


def taken(of: ClusterCache) -> int:
    node = of.ledger.node("n")
    assert node is not None
    return node.gpus[0].taken.memory


def assume(of: ClusterCache, uid: str, memory: int) -> Booking:
    return of.assume(uid, f"default/p{uid}", REQUEST, allocation(memory))


def test_a_list_says_who_is_there() -> None:
    of = cache()
    assert of.pods_listed([pod("1", 10), pod("2", 20), pod("3"), pod("4", 40, ended=True)]) == []
    assert taken(of) == 30
    assert of.pods_listed([pod("2", 20)]) == []
    assert taken(of) == 20
    of.nodes_listed([])
    assert list(of.ledger.nodes()) == []


def test_an_assumption_lasts_until_the_pod_is_shown_bound_or_gone() -> None:
    of = cache()
    assume(of, "1", 10)
    of.pod_changed(pod("1", node=""))
    assert taken(of) == 10, "older than the binding"
    of.pod_changed(pod("1", 10))
    assert taken(of) == 10
    booking = of.ledger.booking("1")
    assert booking is not None
    assert booking.confirmed
    assume(of, "2", 20)
    of.pod_gone("2")
    assert taken(of) == 10


def test_an_assumption_that_a_list_lacks_has_to_be_asked_for() -> None:
    of = cache()
    assume(of, "1", 10)
    of.pod_changed(pod("2", 20))
    assert of.pods_listed([]) == ["1"]
    assert taken(of) == 10


def test_what_others_did_replaces_an_assumption() -> None:
    of = cache()
    assume(of, "1", 10)
    of.pod_changed(pod("1", 30))
    assert taken(of) == 30
    assume(of, "2", 20)
    of.pod_changed(pod("2"))
    assert taken(of) == 30, "bound by somebody who gave it no GPU"


def test_what_was_confirmed_stays_when_its_annotation_vanishes() -> None:
    of = cache()
    of.pod_changed(pod("1", 30))
    of.pod_changed(pod("1"))
    assert taken(of) == 30


def test_a_wrong_assumption_is_withdrawn_but_never_the_truth() -> None:
    of = cache()
    wrong = assume(of, "1", 10)
    of.withdraw("1", wrong)
    assert taken(of) == 0
    late = assume(of, "2", 10)
    of.pod_changed(pod("2", 10))
    of.withdraw("2", late)
    assert taken(of) == 10


def test_an_older_answer_does_not_revive_what_has_ended() -> None:
    of = cache()
    of.pod_changed(pod("1", 30))
    of.pod_changed(pod("1", 30, ended=True))
    of.pod_changed(pod("1", 30))
    assert taken(of) == 0
    of.pod_gone("2")
    of.pod_changed(pod("2", 20))
    assert taken(of) == 0


def test_nodes_come_change_and_go() -> None:
    of = cache()
    of.pod_changed(pod("1", 30))
    of.node_gone("n")
    assert list(of.ledger.nodes()) == []
    of.node_changed(NODE)
    assert taken(of) == 30
    of.node_changed(NodeFacts("n", (), NodeMode.MIXED, None, "unreadable"))
    assert list(of.ledger.nodes()) == []
    assert GpuUsage() == GpuUsage(MiB(0), 0, 0, False)


def test_a_pod_that_cannot_be_read_keeps_what_it_had() -> None:
    of = cache()
    of.pods_listed([pod("1", 10), pod("2", 20)])
    assert of.pods_listed([], {"1"}) == []
    assert taken(of) == 10
    of.pod_changed(pod("1", 30))
    assert taken(of) == 30
