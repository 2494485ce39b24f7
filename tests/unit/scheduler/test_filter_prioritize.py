"""Filter and prioritize on ledgers of generated clusters."""

import random
from collections.abc import Sequence

import pytest

from scheduler import filter_prioritize, wire
from scheduler.fit_cache import MOST_SHAPES, FitCache
from unigpu import placement
from unigpu.allocations import GpuUsage
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy, PodRequest, Preferences, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules()


def gpu(node: str, index: int, memory: int = 100) -> Gpu:
    return Gpu(GpuUuid(f"{node}-{index}"), index, index, "X", MiB(memory))


def booking(node: str, index: int, memory: int, cores: int = 0) -> Booking:
    return Booking("default/p", node, {GpuUuid(f"{node}-{index}"): GpuUsage(MiB(memory), cores, 1)})


def ledger_of(nodes: int, gpus: int = 2) -> CapacityLedger:
    found = CapacityLedger()
    for number in range(nodes):
        name = f"n{number}"
        found.set_node(name, [gpu(name, index) for index in range(gpus)], NodeMode.MIXED, None)
    return found


def pod(memory: int = 0, cores: int = 0, **preferences: object) -> PodRequest:
    wishes = Preferences(**preferences)  # type: ignore[arg-type]
    return PodRequest({"main": Request(1, MiB(memory), cores=Percent(cores))}, wishes)


WISHES = [
    pod(50),
    pod(90, 50),
    pod(0, 70),
    pod(10, use_uuids=("n3-1", "n5-0")),
    PodRequest({"main": Request(1, whole=True)}),
    PodRequest({"main": Request(2, MiB(60))}),
    PodRequest(
        {"init": Request(1, MiB(90), role=Role.INIT), "main": Request(1, MiB(60)), "other": Request(1, MiB(60))}
    ),
]


@pytest.mark.parametrize("seed", range(5))
def test_remembered_fits_are_those_of_placement_after_any_changes(seed: int) -> None:
    chance = random.Random(seed)
    of = ledger_of(12)
    fits = FitCache(of, RULES)
    for step in range(120):
        node = f"n{chance.randrange(14)}"
        match chance.randrange(6):
            case 0:
                of.set_node(
                    node, [gpu(node, index, chance.choice([50, 100])) for index in range(2)], NodeMode.MIXED, None
                )
            case 1:
                of.remove_node(node)
            case 2 | 3 | 4:
                of.book(str(chance.randrange(20)), booking(node, chance.randrange(2), chance.randrange(50), 20))
            case _:
                of.release(str(chance.randrange(20)))
        wish = chance.choice(WISHES)
        names = chance.sample([f"n{number}" for number in range(15)], chance.randrange(1, 16))
        found = fits.of(wish, names)
        assert [*found.fitting, *found.failing] == sorted(
            names, key=lambda name: (name not in found.fitting, names.index(name))
        )
        for name in names:
            seen = of.node(name)
            reason = placement.NO_GPUS if seen is None else placement.reason(seen, wish, RULES)
            assert found.failing.get(name) == (None if reason is None else reason.text), (step, name)


def test_more_shapes_than_are_remembered() -> None:
    of = ledger_of(3)
    fits = FitCache(of, RULES)
    of.book("1", booking("n1", 0, 100))
    of.book("2", booking("n1", 1, 50))
    for _ in range(2):
        for memory in range(1, MOST_SHAPES + 20):
            found = fits.of(pod(memory), ["n0", "n1"])
            assert found.fitting == (["n0", "n1"] if memory <= 50 else ["n0"])


def test_few_failing_nodes_are_counted_and_many_read_alike() -> None:
    of = ledger_of(40)
    names = [f"n{number}" for number in range(40)]
    for number in range(40):
        of.book(f"a{number}", booking(f"n{number}", 0, 95))
        if number % 2:
            of.book(f"b{number}", booking(f"n{number}", 1, 95))
    fits = FitCache(of, RULES)
    wish = PodRequest({"main": Request(2, MiB(10))})
    few = filter_prioritize.filter_nodes(fits, wish, names[:4])
    wants = "container main needs 2 GPUs with 10 MiB free on each"
    assert few["NodeNames"] == []
    assert few["FailedAndUnresolvableNodes"] == {
        "n0": f"{wants}: only 1 of 2 fits, 1 of 2 with too little free memory",
        "n1": f"{wants}: 2 of 2 with too little free memory",
        "n2": f"{wants}: only 1 of 2 fits, 1 of 2 with too little free memory",
        "n3": f"{wants}: 2 of 2 with too little free memory",
    }
    many = filter_prioritize.filter_nodes(fits, wish, names)
    assert set(many["FailedAndUnresolvableNodes"].values()) == {f"{wants}: GPUs with too little free memory"}
    assert "FailedAndUnresolvableNodes" not in filter_prioritize.filter_nodes(fits, pod(1), ["n0"])


def points(found: Sequence[wire.HostPriority], names: Sequence[str]) -> list[int]:
    """The nodes' scores as the kube-scheduler adds them up: a node that isn't named has none."""
    scores = {entry["Host"]: entry["Score"] for entry in found}
    assert len(scores) == len(found) and scores.keys() <= set(names)
    assert all(0 < score <= wire.MOST_SCORE for score in scores.values()), "nobody is named without a point"
    return [scores.get(name, 0) for name in names]


def test_scores() -> None:
    of = ledger_of(3)
    assert filter_prioritize.prioritize(of, PlacementPolicy.BINPACK, []) == []
    names = ["n0", "n1", "n2", "unknown"]

    def scores(policy: PlacementPolicy) -> list[int]:
        return points(filter_prioritize.prioritize(of, policy, names), names)

    assert scores(PlacementPolicy.BINPACK) == [0, 0, 0, 0]
    of.book("1", booking("n1", 0, 10))
    of.book("2", booking("n2", 0, 90))
    assert scores(PlacementPolicy.BINPACK) == [0, 1, 10, 0]
    assert scores(PlacementPolicy.SPREAD) == [10, 8, 0, 10]


def test_no_more_nodes_are_named_than_stand_out() -> None:
    of = ledger_of(40)
    fits = FitCache(of, RULES)
    names = [f"n{number}" for number in range(40)]

    def scores() -> list[int]:
        return points(filter_prioritize.prioritize(of, PlacementPolicy.BINPACK, names, fits, pod(1)), names)

    assert scores() == [0] * 40
    for number in range(39):
        of.book(str(number), booking(f"n{number}", 0, 85 - number))
        worse = [max(0, min(number + 1, wire.MOST_SCORE) - place) for place in range(40)]
        assert scores() == worse, "a point less for each worse grade, and the worst has none"


def test_a_share_goes_where_it_leaves_least_and_empty_gpus_come_last() -> None:
    of = ledger_of(4)
    of.book("1", booking("n1", 0, 30))
    of.book("2", booking("n2", 0, 60))
    of.book("3", booking("n3", 0, 100))
    fits = FitCache(of, RULES)
    names = ["n0", "n1", "n2", "n3"]

    def scores(wish: PodRequest, policy: PlacementPolicy = PlacementPolicy.BINPACK) -> list[int]:
        return points(filter_prioritize.prioritize(of, policy, names, fits, wish), names)

    assert scores(pod(20)) == [0, 2, 3, 1], "the fullest node would have to open a GPU"
    assert scores(pod(20), PlacementPolicy.SPREAD) == [10, 7, 4, 0]
    assert scores(PodRequest({"main": Request(1, whole=True)})) == [0, 3, 6, 10], "by fullness"
