"""Fits by headroom, compared with placement's own answer for each node, on clusters of every kind."""

import random
from typing import Any

import pytest

from scheduler import fit_cache
from scheduler.fit_cache import FEW, POSTPONED, FitCache
from unigpu import fit, headroom, placement
from unigpu.allocations import GpuUsage
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Preferences, Request, Role
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules(shares_per_gpu=3)
NODES = [f"n{number}" for number in range(40)]
ALL = [*NODES, "unknown"]


def change(of: CapacityLedger, chance: random.Random) -> None:
    """Change a node or what is booked there, in any way."""
    name = chance.choice(NODES)
    match chance.randrange(8):
        case 0:
            of.remove_node(name)
        case 1 | 2:
            model = chance.choice(["A10", "H100"])
            alike = chance.random() < 0.7
            node_gpus = [
                Gpu(
                    GpuUuid(f"{name}-{index}" if chance.random() < 0.95 else "twin"),
                    index,
                    index,
                    model if alike else chance.choice(["A10", "H100"]),
                    MiB(100 if alike else chance.choice([50, 100])),
                    chance.random() < 0.9,
                    foreign=MiB(chance.choice([0, 0, 0, 30, 120])),
                )
                for index in range(chance.choice([1, 2, 4]))
            ]
            cordoned = frozenset(gpu.uuid for gpu in node_gpus if chance.random() < 0.1)
            mode = chance.choice([*[NodeMode.MIXED] * 4, NodeMode.TOPOLOGY, NodeMode.CGPU])
            of.set_node(name, node_gpus, mode, None, cordoned)
        case 3:
            of.release(str(chance.randrange(150)))
        case _:
            gpu = GpuUuid(f"{name}-{chance.randrange(4)}")
            whole = chance.random() < 0.2
            use = GpuUsage(MiB(100), 100, 1, True) if whole else GpuUsage(MiB(chance.randrange(60)), 30, 1)
            of.book(str(chance.randrange(150)), Booking("default/p", name, {gpu: use}))


def any_request(chance: random.Random) -> Request:
    role = chance.choice([Role.MAIN, Role.MAIN, Role.INIT])
    match chance.randrange(6):
        case 0:
            return Request(chance.choice([1, 2, 3]), whole=True, role=role)
        case 1:
            return Request(1, memory_percent=Percent(chance.choice([10, 60, 100])), role=role)
        case 2:
            return Request(1, cores=Percent(chance.choice([0, 20, 80])), role=role)
        case _:
            memory, cores = chance.choice([0, 10, 45, 60, 99, 101]), chance.choice([0, 0, 35])
            return Request(chance.choice([1, 1, 1, 2, 4]), MiB(memory), cores=Percent(cores), role=role)


def any_pod(chance: random.Random) -> PodRequest:
    preferences = Preferences()
    match chance.randrange(6):
        case 0:
            preferences = Preferences(use_types=(chance.choice(["a10", "h", "v100"]),))
        case 1:
            preferences = Preferences(avoid_types=("h100",), use_uuids=("n1-0", "n2-1", "twin"))
        case 2:
            preferences = Preferences(avoid_uuids=("n1-0", "n3-0"))
        case _:
            pass
    count = chance.choice([1, 1, 1, 2, 3])
    return PodRequest({f"c{number}": any_request(chance) for number in range(count)}, preferences)


@pytest.mark.parametrize("seed", range(8))
def test_fits_are_those_of_placement(seed: int) -> None:
    chance = random.Random(seed)
    of = CapacityLedger()
    for _ in range(80):
        change(of, chance)
    fits = FitCache(of, RULES)
    shapes = [any_pod(chance) for _ in range(12)]
    for step in range(60):
        for _ in range(chance.choice([0, 1, 30])):
            change(of, chance)
        wish = chance.choice([*shapes, any_pod(chance)])
        names = ALL if step % 3 else chance.sample(ALL, chance.randrange(1, len(ALL)))
        found = fits.of(wish, names)
        nodes = {name: of.node(name) for name in names}
        reasons = {
            name: placement.NO_GPUS if node is None else placement.reason(node, wish, RULES)
            for name, node in nodes.items()
        }
        failing = {name: reason for name, reason in reasons.items() if reason is not None}
        assert found.fitting == [name for name in names if name not in failing], (step, wish)
        counted = len(failing) <= FEW
        assert found.failing == {name: reason.text if counted else reason.brief for name, reason in failing.items()}, (
            step,
            wish,
        )


@pytest.mark.parametrize("seed", range(4))
def test_a_grade_is_what_the_share_leaves_on_the_gpu_that_placement_takes(seed: int) -> None:
    chance = random.Random(seed)
    of = CapacityLedger()
    for _ in range(150):
        change(of, chance)
    fits = FitCache(of, RULES)
    graded = 0
    for _ in range(40):
        memory, cores = chance.choice([5, 20, 45]), chance.choice([0, 10, 35])
        wish = PodRequest({"main": Request(1, MiB(memory), cores=Percent(cores))})
        names = fits.of(wish, NODES).fitting
        grades = fits.grades(wish, names) or []
        for name, grade in zip(names, grades, strict=True):
            node = of.node(name)
            assert node is not None
            if len({(state.gpu.model, state.gpu.memory) for state in node.gpus}) > 1:
                continue
            (share,) = placement.place(node, wish, RULES).containers["main"]
            (state,) = (state for state in node.gpus if state.gpu.uuid == share.gpu)
            left = fit.leftover(100, memory, cores, state.taken.memory, state.taken.cores)
            assert grade == (left if state.taken.shares else headroom.OPENS - of.fullness([name])[0])
            graded += 1
        change(of, chance)
    assert graded


def test_whole_gpus_have_no_grade() -> None:
    of = CapacityLedger()
    of.set_node("n", [Gpu(GpuUuid("a"), 0, 0, "X", MiB(100))], NodeMode.MIXED, None)
    fits = FitCache(of, RULES)
    assert fits.grades(PodRequest({"main": Request(1, whole=True)}), ["n"]) is None
    assert fits.grades(PodRequest({"main": Request(1, MiB(10))}), ["n", "unknown"]) == [headroom.OPENS] * 2


def test_a_node_without_gpus_left_is_forgotten() -> None:
    of = CapacityLedger()
    fits = FitCache(of, RULES)
    wish = PodRequest({"main": Request(1, MiB(10))})
    assert fits.of(wish, ["n"]).failing == {"n": placement.NO_GPUS.text}
    of.set_node("n", [Gpu(GpuUuid("a"), 0, 0, "X", MiB(100))], NodeMode.MIXED, None)
    assert fits.of(wish, ["n"]).fitting == ["n"]
    of.remove_node("n")
    assert fits.of(wish, ["n"]).failing == {"n": placement.NO_GPUS.text}


def test_a_pod_that_takes_long_to_judge_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its containers fit one by one on each node, and together on the last alone. Each answer looks at a few nodes."""
    monkeypatch.setattr(fit_cache, "MOST_EFFORT", 400)
    of = CapacityLedger()
    for place, name in enumerate(NODES):
        size = 300 if name == NODES[-1] else 100 + place  # no two nodes are alike
        node_gpus = [Gpu(GpuUuid(f"{name}-{index}"), index, index, "A10", MiB(size)) for index in range(3)]
        of.set_node(name, node_gpus, NodeMode.MIXED, None)
    fits = FitCache(of, Rules(shares_per_gpu=20))
    wish = PodRequest({f"c{number}": Request(1, MiB(71)) for number in range(4)})
    asked = []
    real = placement.reason

    def counted(*given: Any) -> Any:
        asked.append(given[0].name)
        return real(*given)

    monkeypatch.setattr(placement, "reason", counted)
    rounds: list[int] = []
    while NODES[-1] not in (found := fits.of(wish, NODES)).fitting or POSTPONED.text in found.failing.values():
        assert set(found.fitting) <= {NODES[-1]}
        assert found.failing.keys() | set(found.fitting) == set(NODES)
        rounds.append(len(asked) - sum(rounds))
        assert len(rounds) < len(NODES)
    assert len(rounds) > 2 and max(rounds) < len(NODES) // 2
    assert sorted(asked) == sorted(NODES[:-1]), "each once; the last is seen to have room without a search"
    assert found.fitting == [NODES[-1]]
    assert fits.of(PodRequest({"main": Request(1, MiB(71))}), NODES).fitting == NODES
