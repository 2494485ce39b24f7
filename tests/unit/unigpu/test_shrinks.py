"""Which containers do with less, so that a more important pod has room: against every set that there is."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unigpu import placement, shrinks
from unigpu.allocations import GpuUsage
from unigpu.cover import Steps
from unigpu.evictees import Evictee
from unigpu.fit import GpuState, Node
from unigpu.gpus import Gpu
from unigpu.ledger import Booking
from unigpu.lowering import Amounts, Lowerable
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Request
from unigpu.shrinks import Giver, Plan
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules(shares_per_gpu=4)
A, B = GpuUuid("a"), GpuUuid("b")
STEPS = 5000


def giver(
    pod: str, memory: tuple[int, int], cores: tuple[int, int] = (0, 0), gpus: str = "a", priority: int = 0
) -> Giver:
    now = Amounts(MiB(memory[0]), Percent(cores[0]))
    least = Amounts(MiB(memory[1]), Percent(cores[1]))
    return Giver(Lowerable(pod, "main", tuple(GpuUuid(gpu) for gpu in gpus), now, least), priority, 1.0)


def node(able: Sequence[Giver], more: int = 0) -> Node:
    """Two GPUs of 100 MiB with these containers; of each, `more` MiB are taken by others."""
    states = []
    for number, uuid in enumerate((A, B)):
        here = [one.found.now for one in able if uuid in one.found.gpus]
        taken = GpuUsage(MiB(more + sum(now.memory for now in here)), sum(now.cores for now in here), len(here))
        states.append(GpuState(Gpu(uuid, number, number, "X", MiB(100)), taken))
    return Node("n", tuple(states))


def asked(gpus: int, memory: int, cores: int = 0) -> PodRequest:
    return PodRequest({"main": Request(gpus, MiB(memory), cores=Percent(cores))})


def planned(pod: PodRequest, able: Sequence[Giver], more: int = 0) -> Plan | None:
    return shrinks.plan(pod, RULES, node(able, more), able, Steps(STEPS))


def names(plan: Plan | None) -> dict[str, tuple[int, int]]:
    assert plan is not None
    return {found.pod: (to.memory, to.cores) for found, to in plan.lowered}


def test_one_large_container_gives_rather_than_two_small_ones() -> None:
    able = [giver("x", (30, 15)), giver("y", (30, 15)), giver("z", (40, 10)), giver("q", (100, 100), gpus="b")]
    assert names(planned(asked(1, 25), able)) == {"z": (15, 0)}


def test_no_more_is_taken_than_is_needed() -> None:
    able = [giver("x", (50, 10)), giver("y", (50, 10)), giver("q", (100, 100), gpus="b")]
    assert names(planned(asked(1, 60), able)) == {"x": (10, 0), "y": (30, 0)}


def test_the_less_important_give_first() -> None:
    able = [giver("x", (60, 10), priority=5), giver("y", (40, 10)), giver("q", (100, 100), gpus="b")]
    assert names(planned(asked(1, 20), able)) == {"y": (20, 0)}


def test_compute_time_of_soft_containers_is_given_too() -> None:
    able = [giver("x", (20, 20), (60, 5)), giver("y", (20, 20), (40, 40)), giver("q", (100, 100), gpus="b")]
    assert names(planned(asked(1, 20, cores=30), able)) == {"x": (20, 30)}


def test_the_gpu_on_which_the_fewest_must_give_is_chosen() -> None:
    able = [giver("x", (50, 30)), giver("y", (50, 30)), giver("z", (100, 30), gpus="b")]
    assert names(planned(asked(1, 40), able)) == {"z": (60, 0)}


def test_a_container_with_two_gpus_gives_on_both() -> None:
    able = [giver("x", (80, 10), gpus="ab")]
    assert names(planned(asked(2, 50), able)) == {"x": (50, 0)}


def test_nobody_gives_where_there_is_room() -> None:
    assert names(planned(asked(1, 50), [giver("x", (50, 10))])) == {}


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(asked(1, 60), id="more than can be given"),
        pytest.param(PodRequest({"main": Request(1, whole=True)}), id="a whole GPU"),
        pytest.param(asked(3, 10), id="more GPUs than there are"),
    ],
)
def test_no_plan_without_room(pod: PodRequest) -> None:
    assert planned(pod, [giver("x", (50, 20)), giver("y", (50, 50), gpus="b")], more=50) is None


def test_no_plan_without_a_slot() -> None:
    able = [giver(str(number), (25, 5), gpus="ab") for number in range(4)]
    assert planned(asked(1, 10), able) is None


def test_only_less_important_pods_that_stay_and_are_booked_so_may_give() -> None:
    found = [
        giver(pod, (50, 10)).found for pod in ("lower", "equal", "leaving", "unknown", "elsewhere", "smaller", "sent")
    ]
    uses = {A: GpuUsage(MiB(50), 0, 1)}
    bookings = {
        "lower": Booking("ns/lower", "n", uses, priority=1, evictee=Evictee(5.0)),
        "equal": Booking("ns/equal", "n", uses, priority=2, evictee=Evictee(5.0)),
        "leaving": Booking("ns/leaving", "n", uses, evictee=Evictee(5.0, leaving=True)),
        "elsewhere": Booking("ns/elsewhere", "n", {B: uses[A]}, evictee=Evictee(5.0)),
        "smaller": Booking("ns/smaller", "n", {A: GpuUsage(MiB(49), 0, 1)}, evictee=Evictee(5.0)),
        "sent": Booking("ns/sent", "n", uses, confirmed=False, evictee=Evictee(5.0)),
    }
    assert [(one.found.pod, one.priority, one.started) for one in shrinks.givers(found, bookings, 2)] == [
        ("lower", 1, 5.0)
    ]


amounts = st.sampled_from([(10, 5), (20, 20), (30, 10), (40, 0), (50, 25)])
parts = st.sampled_from([(0, 0), (20, 5), (30, 30), (50, 10)])
able_sets = st.lists(
    st.tuples(amounts, parts, st.sampled_from(["a", "b", "ab"]), st.integers(0, 2)), min_size=1, max_size=5
).map(
    lambda found: [
        giver(str(number), memory, cores, gpus, priority)
        for number, (memory, cores, gpus, priority) in enumerate(found)
    ]
)


@settings(max_examples=200, deadline=None)
@given(able_sets, st.integers(1, 2), st.sampled_from([5, 30, 60, 90]), st.sampled_from([0, 30, 70]))
def test_as_few_and_as_unimportant_as_any_set_that_makes_room(
    able: list[Giver], gpus: int, memory: int, cores: int
) -> None:
    pod = asked(gpus, memory, cores)
    before = node(able)

    def fits(lowered: Sequence[tuple[Lowerable, Amounts]]) -> bool:
        changed = {found.key: to for found, to in lowered}
        states = []
        for state in before.gpus:
            here = [
                (one.found.now, changed.get(one.found.key, one.found.now))
                for one in able
                if state.gpu.uuid in one.found.gpus
            ]
            taken = GpuUsage(MiB(sum(to.memory for _, to in here)), sum(to.cores for _, to in here), len(here))
            states.append(GpuState(state.gpu, taken))
        return placement.reason(Node("n", tuple(states)), pod, RULES) is None

    def harm(chosen: Sequence[Giver]) -> tuple[int, int, int]:
        weights = [one.priority + (1 << 31) + 1 for one in chosen]
        return max((one.priority for one in chosen), default=-1), sum(weights), len(chosen)

    sets = [
        chosen
        for count in range(len(able) + 1)
        for chosen in itertools.combinations(able, count)
        if fits([(one.found, one.found.least) for one in chosen])
    ]
    plan = planned(pod, able)
    if not sets:
        assert plan is None
        return
    assert plan is not None
    assert fits(plan.lowered)
    for found, to in plan.lowered:
        assert found.least.memory <= to.memory <= found.now.memory
        assert found.least.cores <= to.cores <= found.now.cores
        assert to != found.now
        assert not fits([pair for pair in plan.lowered if pair[0] is not found]), "a container that wasn't needed"
    by_key = {one.found.key: one for one in able}
    assert harm([by_key[found.key] for found, _ in plan.lowered]) == min(map(harm, sets))
