"""The books: what is taken of every GPU, after any sequence of changes."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from unigpu import fit
from unigpu.allocations import GpuUsage
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy
from unigpu.units import GpuUuid, MiB


def gpu(name: str, memory: int = 100) -> Gpu:
    return Gpu(GpuUuid(name), 0, 0, "X", MiB(memory))


def use(memory: int, cores: int = 0, whole: bool = False) -> GpuUsage:
    return GpuUsage(MiB(memory), cores, 1, whole)


def booking(node: str, confirmed: bool = True, **uses: GpuUsage) -> Booking:
    return Booking("default/p", node, {GpuUuid(name): taken for name, taken in uses.items()}, confirmed)


def books(**nodes: list[Gpu]) -> CapacityLedger:
    found = CapacityLedger()
    for name, seen in nodes.items():
        found.set_node(name, seen, NodeMode.MIXED, None)
    return found


def taken(of: CapacityLedger, node: str) -> dict[str, GpuUsage]:
    found = of.node(node)
    assert found is not None
    return {state.gpu.uuid: state.taken for state in found.gpus}


def test_what_is_booked_is_taken_until_it_is_released() -> None:
    of = books(n=[gpu("a"), gpu("b")])
    of.book("1", booking("n", a=use(10, 5), b=use(20)))
    of.book("2", booking("n", a=use(30, 5)))
    assert taken(of, "n") == {"a": GpuUsage(MiB(40), 10, 2), "b": GpuUsage(MiB(20), 0, 1)}
    assert of.release("1") == booking("n", a=use(10, 5), b=use(20))
    assert taken(of, "n") == {"a": GpuUsage(MiB(30), 5, 1), "b": GpuUsage()}
    assert of.release("1") is None


def test_booking_again_replaces() -> None:
    of = books(n=[gpu("a")], m=[gpu("b")])
    of.book("1", booking("n", confirmed=False, a=use(10)))
    of.book("1", booking("m", b=use(7)))
    assert (taken(of, "n"), taken(of, "m")) == ({"a": GpuUsage()}, {"b": use(7)})
    assert [found.node for _, found in of.bookings()] == ["m"]


def test_what_pods_take_outlives_the_node_and_precedes_it() -> None:
    of = CapacityLedger()
    of.book("1", booking("n", a=use(10)))
    of.set_node("n", [gpu("a")], NodeMode.MIXED, None)
    assert taken(of, "n") == {"a": use(10)}
    of.remove_node("n")
    assert list(of.nodes()) == []
    of.set_node("n", [gpu("a"), gpu("b")], NodeMode.MIXED, None)
    assert taken(of, "n") == {"a": use(10), "b": GpuUsage()}
    of.remove_node("n")
    of.release("1")
    assert of.node("n") is None


def test_watchers_hear_of_changes_only() -> None:
    of = CapacityLedger()
    heard: list[str] = []
    of.watch(heard.append)
    of.set_node("n", [gpu("a")], NodeMode.MIXED, None)
    of.set_node("n", [gpu("a")], NodeMode.MIXED, None)
    assert heard == ["n"]
    of.book("1", booking("n", confirmed=False, a=use(10)))
    of.book("1", booking("n", a=use(10)))
    assert heard == ["n", "n"]
    found = of.booking("1")
    assert found is not None
    assert found.confirmed
    of.set_node("n", [gpu("a")], NodeMode.CGPU, None)
    of.set_node("n", [gpu("a")], NodeMode.CGPU, PlacementPolicy.SPREAD)
    of.release("1")
    assert heard == ["n"] * 5


def test_fullness() -> None:
    of = books(n=[gpu("a"), gpu("b")], m=[gpu("c")])
    assert of.fullness(["n", "m", "unknown"]) == [0, 0, 0]
    of.book("1", booking("n", a=use(50, 20)))
    assert of.fullness(["n"]) == [250]
    of.book("2", booking("n", b=use(10, 80)))
    assert of.fullness(["n", "n"]) == [650, 650]
    of.book("3", booking("m", c=use(0, 0, whole=True)))
    assert of.fullness(["m", "n"]) == [1000, 650]
    of.remove_node("m")
    of.release("3")
    assert of.fullness(["m"]) == [0]


def test_overbooked() -> None:
    of = books(n=[gpu("a"), gpu("b"), gpu("c")])
    of.book("1", booking("n", a=use(100, 100), b=use(60), c=use(100, whole=True)))
    assert of.overbooked() == []
    of.book("2", booking("n", b=use(60)))
    of.book("3", booking("n", c=use(0)))
    of.book("4", booking("n", a=use(0, 1)))
    assert of.overbooked() == [("n", "a"), ("n", "b"), ("n", "c")]


def test_without_some_pods() -> None:
    of = books(n=[gpu("a")])
    of.book("1", booking("n", a=use(60)))
    of.book("2", booking("n", a=use(30)))
    found = of.without("n", {"1", "unknown"})
    assert found is not None
    assert found.gpus[0].taken == use(30)
    assert taken(of, "n")["a"].memory == 90
    assert of.without("unknown", ()) is None


def test_nodes_alike_share_a_signature() -> None:
    of = books(n=[gpu("a")], m=[gpu("b")], o=[gpu("c", 200)])
    assert of.signature("n") == of.signature("m") != of.signature("o")
    of.book("1", booking("n", a=use(1)))
    assert of.signature("n") != of.signature("m")
    of.book("2", booking("m", b=use(1)))
    assert of.signature("n") == of.signature("m")


class Sequences(RuleBasedStateMachine):
    """Any sequence of changes leaves what adding everything up anew gives."""

    def __init__(self) -> None:
        super().__init__()
        self.books = CapacityLedger()
        self.nodes: set[str] = set()
        self.pods: dict[str, Booking] = {}

    names = st.sampled_from(["n", "m"])
    uids = st.sampled_from("123")
    uses = st.dictionaries(
        st.sampled_from(["a", "b"]), st.builds(use, st.integers(0, 60), st.integers(0, 60), st.booleans())
    )

    @rule(name=names)
    def add(self, name: str) -> None:
        self.books.set_node(name, [gpu("a"), gpu("b")], NodeMode.MIXED, None)
        self.nodes.add(name)

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.books.remove_node(name)
        self.nodes.discard(name)

    @rule(uid=uids, name=names, uses=uses)
    def book(self, uid: str, name: str, uses: dict[str, GpuUsage]) -> None:
        self.pods[uid] = booking(name, **uses)
        self.books.book(uid, self.pods[uid])

    @rule(uid=uids)
    def release(self, uid: str) -> None:
        assert self.books.release(uid) == self.pods.pop(uid, None)

    @invariant()
    def same(self) -> None:
        assert set(self.books.nodes()) == self.nodes
        assert dict(self.books.bookings()) == self.pods
        for name in self.nodes:
            for uuid, found in taken(self.books, name).items():
                there = [one.uses[GpuUuid(uuid)] for one in self.pods.values() if one.node == name and uuid in one.uses]
                assert found.memory == sum(one.memory for one in there)
                assert found.cores == sum(one.cores for one in there)
                assert found.shares == len(there)
                assert found.whole == any(one.whole for one in there)
            node = self.books.node(name)
            assert node is not None
            assert self.books.fullness([name]) == [sum(map(fit.fullness, node.gpus)) // 2]


Sequences.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestSequences = Sequences.TestCase
