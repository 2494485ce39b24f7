"""The capacity ledger: what is taken of every GPU, after any sequence of changes."""

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from unigpu import fit
from unigpu.allocations import GpuUsage
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, Preferences, Request
from unigpu.units import GpuUuid, MiB


def gpu(name: str, memory: int = 100) -> Gpu:
    return Gpu(GpuUuid(name), 0, 0, "X", MiB(memory))


def use(memory: int, cores: int = 0, whole: bool = False) -> GpuUsage:
    return GpuUsage(MiB(memory), cores, 1, whole)


def booking(node: str, confirmed: bool = True, **uses: GpuUsage) -> Booking:
    return Booking("default/p", node, {GpuUuid(name): taken for name, taken in uses.items()}, confirmed)


def ledger_of(**nodes: list[Gpu]) -> CapacityLedger:
    found = CapacityLedger()
    for name, seen in nodes.items():
        found.set_node(name, seen, NodeMode.MIXED, None)
    return found


def taken(ledger: CapacityLedger, node: str) -> dict[str, GpuUsage]:
    found = ledger.node(node)
    assert found is not None
    return {state.gpu.uuid: state.taken for state in found.gpus}


def test_bookings_count_until_they_are_released() -> None:
    ledger = ledger_of(n=[gpu("a"), gpu("b")])
    ledger.book("1", booking("n", a=use(10, 5), b=use(20)))
    ledger.book("2", booking("n", a=use(30, 5)))
    assert taken(ledger, "n") == {"a": GpuUsage(MiB(40), 10, 2), "b": GpuUsage(MiB(20), 0, 1)}
    assert ledger.release("1") == booking("n", a=use(10, 5), b=use(20))
    assert taken(ledger, "n") == {"a": GpuUsage(MiB(30), 5, 1), "b": GpuUsage()}
    assert ledger.release("1") is None


def test_memory_that_nobody_was_granted_is_taken_and_not_overbooked() -> None:
    ledger = ledger_of(n=[dataclasses.replace(gpu("a"), foreign=MiB(60)), gpu("b")])
    assert taken(ledger, "n") == {"a": GpuUsage(MiB(60)), "b": GpuUsage()}
    signature = ledger.signature("n")
    ledger.book("1", booking("n", a=use(50)))
    assert taken(ledger, "n")["a"] == GpuUsage(MiB(110), 0, 1)
    assert ledger.overbooked() == []
    without = ledger.without("n", {"1"})
    assert without is not None
    assert without.gpus[0].taken == GpuUsage(MiB(60))
    ledger.release("1")
    ledger.set_node("n", [gpu("a"), gpu("b")], NodeMode.MIXED, None)
    assert taken(ledger, "n")["a"] == GpuUsage()
    assert ledger.signature("n") != signature


def test_a_gpu_with_foreign_memory_is_neither_empty_nor_free() -> None:
    ledger = ledger_of(n=[dataclasses.replace(gpu("a"), foreign=MiB(60))])
    node = ledger.node("n")
    assert node is not None

    def check(request: Request) -> fit.UnfitReason | None:
        return fit.check_fit(node.gpus[0], request, Preferences(), 16)

    assert check(Request(1, MiB(40))) is None
    assert check(Request(1, MiB(41))) is fit.UnfitReason.MEMORY
    assert check(Request(1, whole=True)) is fit.UnfitReason.OCCUPIED


def test_booking_again_replaces() -> None:
    ledger = ledger_of(n=[gpu("a")], m=[gpu("b")])
    ledger.book("1", booking("n", confirmed=False, a=use(10)))
    ledger.book("1", booking("m", b=use(7)))
    assert (taken(ledger, "n"), taken(ledger, "m")) == ({"a": GpuUsage()}, {"b": use(7)})
    assert [found.node for _, found in ledger.bookings()] == ["m"]


def test_bookings_may_precede_and_outlive_their_node() -> None:
    ledger = CapacityLedger()
    ledger.book("1", booking("n", a=use(10)))
    ledger.set_node("n", [gpu("a")], NodeMode.MIXED, None)
    assert taken(ledger, "n") == {"a": use(10)}
    ledger.remove_node("n")
    assert list(ledger.nodes()) == []
    ledger.set_node("n", [gpu("a"), gpu("b")], NodeMode.MIXED, None)
    assert taken(ledger, "n") == {"a": use(10), "b": GpuUsage()}
    ledger.remove_node("n")
    ledger.release("1")
    assert ledger.node("n") is None


def test_watchers_are_called_after_changes_only() -> None:
    ledger = CapacityLedger()
    called: list[str] = []
    ledger.watch(called.append)
    ledger.set_node("n", [gpu("a")], NodeMode.MIXED, None)
    ledger.set_node("n", [gpu("a")], NodeMode.MIXED, None)
    assert called == ["n"]
    ledger.book("1", booking("n", confirmed=False, a=use(10)))
    ledger.book("1", booking("n", a=use(10)))
    assert called == ["n", "n"]
    found = ledger.booking("1")
    assert found is not None
    assert found.confirmed
    ledger.set_node("n", [gpu("a")], NodeMode.CGPU, None)
    ledger.set_node("n", [gpu("a")], NodeMode.CGPU, PlacementPolicy.SPREAD)
    ledger.release("1")
    assert called == ["n"] * 5


def test_fullness() -> None:
    ledger = ledger_of(n=[gpu("a"), gpu("b")], m=[gpu("c")])
    assert ledger.fullness(["n", "m", "unknown"]) == [0, 0, 0]
    ledger.book("1", booking("n", a=use(50, 20)))
    assert ledger.fullness(["n"]) == [250]
    ledger.book("2", booking("n", b=use(10, 80)))
    assert ledger.fullness(["n", "n"]) == [650, 650]
    ledger.book("3", booking("m", c=use(0, 0, whole=True)))
    assert ledger.fullness(["m", "n"]) == [1000, 650]
    ledger.remove_node("m")
    ledger.release("3")
    assert ledger.fullness(["m"]) == [0]


def test_overbooked() -> None:
    ledger = ledger_of(n=[gpu("a"), gpu("b"), gpu("c")])
    ledger.book("1", booking("n", a=use(100, 100), b=use(60), c=use(100, whole=True)))
    assert ledger.overbooked() == []
    ledger.book("2", booking("n", b=use(60)))
    ledger.book("3", booking("n", c=use(0)))
    ledger.book("4", booking("n", a=use(0, 1)))
    assert ledger.overbooked() == [("n", "a"), ("n", "b"), ("n", "c")]


def test_without_some_pods() -> None:
    ledger = ledger_of(n=[gpu("a")])
    ledger.book("1", booking("n", a=use(60)))
    ledger.book("2", booking("n", a=use(30)))
    found = ledger.without("n", {"1", "unknown"})
    assert found is not None
    assert found.gpus[0].taken == use(30)
    assert taken(ledger, "n")["a"].memory == 90
    assert ledger.without("unknown", ()) is None


def test_nodes_alike_share_a_signature() -> None:
    ledger = ledger_of(n=[gpu("a")], m=[gpu("b")], o=[gpu("c", 200)])
    assert ledger.signature("n") == ledger.signature("m") != ledger.signature("o")
    ledger.book("1", booking("n", a=use(1)))
    assert ledger.signature("n") != ledger.signature("m")
    ledger.book("2", booking("m", b=use(1)))
    assert ledger.signature("n") == ledger.signature("m")


class Sequences(RuleBasedStateMachine):
    """After any sequence of changes, the ledger equals the sum over all bookings."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = CapacityLedger()
        self.nodes: set[str] = set()
        self.pods: dict[str, Booking] = {}

    names = st.sampled_from(["n", "m"])
    uids = st.sampled_from("123")
    uses = st.dictionaries(
        st.sampled_from(["a", "b"]), st.builds(use, st.integers(0, 60), st.integers(0, 60), st.booleans())
    )

    @rule(name=names)
    def add(self, name: str) -> None:
        self.ledger.set_node(name, [gpu("a"), gpu("b")], NodeMode.MIXED, None)
        self.nodes.add(name)

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.ledger.remove_node(name)
        self.nodes.discard(name)

    @rule(uid=uids, name=names, uses=uses)
    def book(self, uid: str, name: str, uses: dict[str, GpuUsage]) -> None:
        self.pods[uid] = booking(name, True, **uses)
        self.ledger.book(uid, self.pods[uid])

    @rule(uid=uids)
    def release(self, uid: str) -> None:
        assert self.ledger.release(uid) == self.pods.pop(uid, None)

    @invariant()
    def same(self) -> None:
        assert set(self.ledger.nodes()) == self.nodes
        assert dict(self.ledger.bookings()) == self.pods
        for name in self.nodes:
            for uuid, found in taken(self.ledger, name).items():
                there = [one.uses[GpuUuid(uuid)] for one in self.pods.values() if one.node == name and uuid in one.uses]
                assert found.memory == sum(one.memory for one in there)
                assert found.cores == sum(one.cores for one in there)
                assert found.shares == len(there)
                assert found.whole == any(one.whole for one in there)
            node = self.ledger.node(name)
            assert node is not None
            assert self.ledger.fullness([name]) == [sum(map(fit.fullness, node.gpus)) // 2]


Sequences.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestSequences = Sequences.TestCase


def test_room_for_what_one_pod_takes() -> None:
    ledger = ledger_of(n=[gpu("a"), gpu("b")])
    ledger.book("1", booking("n", a=use(40, 60)))
    node = ledger.node("n")
    assert node is not None
    for shares, fits, uses in (
        (2, True, {"a": use(60, 40)}),
        (2, True, {"a": use(60, 40), "b": use(100, whole=True)}),
        (1, False, {"a": use(1)}),
        (2, False, {"a": use(61)}),
        (2, False, {"a": use(1, 41)}),
        (2, False, {"a": use(1, whole=True)}),
        (2, False, {"gone": use(1)}),
    ):
        assert fit.has_room(node, {GpuUuid(name): taken for name, taken in uses.items()}, shares) == fits, uses
    ledger.book("2", booking("n", b=use(100, 100, whole=True)))
    node = ledger.node("n")
    assert node is not None
    assert not fit.has_room(node, {GpuUuid("b"): use(0)}, 2), "it is another's as a whole"
