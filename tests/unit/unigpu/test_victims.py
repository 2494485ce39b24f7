"""Victims of one node: against every set that there is, and the rules one by one."""

import itertools
from collections.abc import Collection, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unigpu import cover, placement, victims
from unigpu.allocations import GpuUsage
from unigpu.cover import Steps
from unigpu.fit import Node
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent
from unigpu.victims import Candidate, Question

RULES = Rules(shares_per_gpu=4)
MANY = 1_000_000
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def question(
    pod: PodRequest,
    candidates: dict[str, Candidate],
    gpus: int = 2,
    staying: Sequence[Candidate] = (),
    cordoned: Collection[int] = (),
    **more: object,
) -> Question:
    """A node of GPUs with 100 MiB, with these pods and others that nobody may evict."""
    ledger = CapacityLedger()
    found = [Gpu(GpuUuid(f"g{index}"), index, index, "X", MiB(100)) for index in range(gpus)]
    ledger.set_node("n", found, NodeMode.MIXED, None, frozenset(GpuUuid(f"g{index}") for index in cordoned))
    for uid, candidate in [*candidates.items(), *((f"s{at}", one) for at, one in enumerate(staying))]:
        ledger.book(uid, Booking(f"default/{uid}", "n", candidate.uses, priority=candidate.priority))

    def without(uids: Collection[str]) -> Node:
        node = ledger.without("n", uids)
        assert node is not None
        return node

    return Question(pod, RULES, candidates, without, **more)  # type: ignore[arg-type]


def share(gpu: int, memory: int, cores: int = 0, **more: object) -> Candidate:
    return Candidate({GpuUuid(f"g{gpu}"): GpuUsage(MiB(memory), cores, 1)}, **more)  # type: ignore[arg-type]


def whole(gpu: int, **more: object) -> Candidate:
    return Candidate({GpuUuid(f"g{gpu}"): GpuUsage(MiB(100), 100, 1, whole=True)}, **more)  # type: ignore[arg-type]


def asks(memory: int = 0, cores: int = 0, gpus: int = 1) -> PodRequest:
    return PodRequest({"main": Request(gpus, MiB(memory), cores=Percent(cores))})


WHOLE = PodRequest({"main": Request(1, whole=True)})


def chosen(of: Question) -> set[str]:
    found = victims.choose(of, Steps(MANY))
    assert found is not None
    return set(found)


def suffices(of: Question, gone: Collection[str]) -> bool:
    freed = [of.candidates[uid].amounts for uid in gone]
    lacking = any(sum(one.get(name, 0) for one in freed) < amount for name, amount in of.lacking.items())
    return not lacking and placement.reason(of.without(gone), of.pod, of.rules) is None


def brute(of: Question) -> cover.Cost | None:
    """The cost of the best of all sets that suffice."""
    found = []
    for count in range(len(of.candidates) + 1):
        for chosen in itertools.combinations(of.candidates, count):
            if of.fixed <= set(chosen) and suffices(of, chosen):
                found.append(victims.cost(of, chosen))
    return min(found, default=None)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    gpus = draw(st.integers(1, 3))
    fill = {index: [100, 100, 4] for index in range(gpus)}

    def pod() -> Candidate:
        several = draw(st.integers(0, 9)) == 0
        places = draw(st.lists(st.integers(0, gpus - 1), min_size=1, max_size=2 if several else 1, unique=True))
        alone = draw(st.integers(0, 5)) == 0
        uses = {}
        for at in places:
            left = fill[at]
            if alone and left == [100, 100, 4]:
                fill[at] = [0, 0, 0]
                uses[GpuUuid(f"g{at}")] = GpuUsage(MiB(100), 100, 1, whole=True)
            elif left[2]:
                use = GpuUsage(
                    MiB(draw(st.integers(0, left[0] // 10)) * 10), draw(st.integers(0, left[1] // 20)) * 10, 1
                )
                fill[at] = [left[0] - use.memory, left[1] - use.cores, left[2] - 1]
                uses[GpuUuid(f"g{at}")] = use
        return Candidate(
            uses,
            priority=draw(st.integers(0, 2)),
            started=draw(st.integers(0, 3)),
            leaving=draw(st.integers(0, 7)) == 0,
            amounts={"cpu": draw(st.integers(0, 3))},
            budgets=tuple(draw(st.sets(st.integers(0, 1), max_size=1 if draw(st.booleans()) else 2))),
        )

    pods = [pod() for _ in range(draw(st.integers(1, 7)))]
    staying = [pod() for _ in range(draw(st.integers(0, 1)))]
    wish = draw(
        st.one_of(
            st.builds(asks, st.integers(0, 10).map(lambda n: n * 10), st.integers(0, 10).map(lambda n: n * 10)),
            st.builds(asks, st.integers(1, 10).map(lambda n: n * 10), st.just(0), st.integers(1, gpus)),
            st.just(WHOLE),
            st.builds(
                lambda one, other, role: PodRequest(
                    {"first": Request(1, MiB(one * 10), role=role), "main": Request(1, MiB(other * 10))}
                ),
                st.integers(1, 9),
                st.integers(1, 9),
                st.sampled_from([Role.INIT, Role.SIDECAR]),
            ),
        )
    )
    candidates = {f"p{at}": one for at, one in enumerate(pods)}
    fixed = draw(st.sets(st.sampled_from(sorted(candidates)), max_size=1)) if draw(st.booleans()) else set()
    most = sum(one.amounts["cpu"] for one in pods)
    return question(
        wish,
        candidates,
        gpus,
        staying,
        allowed=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
        fixed=frozenset(fixed),
        lacking={"cpu": draw(st.integers(0, most))} if draw(st.booleans()) and most else {},
    )


@UNHURRIED
@given(questions())
def test_the_least_harm_of_all_sets(of: Question) -> None:
    found = victims.choose(of, Steps(MANY))
    if found is None:
        assert brute(of) is None
        return
    assert suffices(of, found) and of.fixed <= found
    assert victims.cost(of, found) == brute(of)


@UNHURRIED
@given(questions(), st.integers(0, 30))
def test_an_early_end_still_spares_whom_it_can(of: Question, steps: int) -> None:
    found = victims.choose(of, Steps(steps))
    if found is None:
        assert brute(of) is None
        return
    assert suffices(of, found) and of.fixed <= found
    if of.fixed != found:
        assert not any(suffices(of, found - {uid}) for uid in found - of.fixed if not of.candidates[uid].leaving), (
            "each is needed"
        )


def test_one_larger_share_rather_than_two_halves() -> None:
    pods = {"a": share(0, 50, started=9.0), "b": share(0, 50, started=9.0), "most": share(1, 80, started=1.0)}
    assert chosen(question(WHOLE, pods)) == {"most"}


def test_two_of_low_priority_rather_than_one_of_higher() -> None:
    pods = {"a": share(0, 50), "b": share(0, 50), "most": share(1, 80, priority=1)}
    assert chosen(question(WHOLE, pods)) == {"a", "b"}


def test_budgets_come_first() -> None:
    pods = {
        "a": share(0, 50, budgets=(0,)),
        "b": share(0, 50, budgets=(0,)),
        "c": share(1, 60, priority=5),
        "d": share(1, 40, priority=5),
    }
    assert chosen(question(asks(90), pods, allowed=(1,))) == {"c", "d"}
    assert chosen(question(asks(90), pods, allowed=(2,))) == {"a", "b"}
    assert chosen(question(asks(50), pods, allowed=(1,))) in ({"a"}, {"b"})


def test_the_latest_started_of_equals() -> None:
    pods = {f"p{at}": share(at % 2, 50, started=float(at)) for at in range(4)}
    assert chosen(question(asks(50), pods)) == {"p3"}


def test_who_leaves_anyway_costs_nothing() -> None:
    pods = {"a": share(0, 100, priority=7, leaving=True, budgets=(0,)), "b": share(1, 100)}
    assert chosen(question(asks(60), pods, allowed=(0,))) == {"a"}


def test_a_share_of_two_gpus_makes_room_on_both() -> None:
    both = Candidate({GpuUuid(f"g{at}"): GpuUsage(MiB(60), 0, 1) for at in range(2)})
    pods = {"both": both, "a": share(0, 40), "b": share(1, 40)}
    assert chosen(question(asks(60, gpus=2), pods)) == {"both"}


def test_totals_that_the_node_lacks() -> None:
    pods = {
        "a": share(0, 100, amounts={"cpu": 1000}),
        "b": share(1, 100, amounts={"cpu": 4000}, priority=1),
        "c": share(1, 0, amounts={"cpu": 4000}),
    }
    assert chosen(question(asks(60), pods)) == {"a"}
    assert chosen(question(asks(60), pods, lacking={"cpu": 4000})) == {"a", "c"}


def test_a_cordoned_gpu_isn_t_cleared() -> None:
    pods = {"a": share(0, 100), "b": share(1, 100, priority=1)}
    assert chosen(question(asks(10), pods, cordoned=[0])) == {"b"}
    assert victims.choose(question(asks(10), pods, cordoned=[0, 1]), Steps(MANY)) is None


@pytest.mark.parametrize("wish", [asks(60, gpus=8), asks(40, 40, gpus=2), WHOLE, asks(70)])
def test_a_full_node_of_16_gpus_needs_few_steps(wish: PodRequest) -> None:
    pods = {
        f"p{at}-{part}": share(at, memory, memory, priority=(at * 7 + part) % 3, started=float(at * part % 11))
        for at in range(16)
        for part, memory in enumerate((10, 15, 20, 25, 30) if at % 2 else (50, 50))
    }
    steps = Steps(5000)
    assert victims.choose(question(wish, pods, 16), steps) is not None
    assert steps.left >= 0
