"""Changes with which a pod would be placed: each is tried, and placement agrees with it."""

import dataclasses
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from unigpu import fit, placement, remedies, survey
from unigpu.allocations import GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.gpus import Gpu
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Preferences, Request
from unigpu.survey import Candidate, Leaver, Survey
from unigpu.units import GpuUuid, MiB, Percent

RULES = Rules()
SIZE = 1000


def state(name: str, index: int, memory: int = 0, cores: int = 0, shares: int = 1, **more: Any) -> GpuState:
    """A GPU of which that much is taken."""
    cordoned = more.pop("cordoned", False)
    whole = more.pop("whole", False)
    gpu = Gpu(GpuUuid(f"{name}-{index}"), index, index, "T", MiB(SIZE), **more)
    taken = GpuUsage(MiB(memory), cores, shares, whole) if memory or cores or whole else fit.UNUSED
    return GpuState(gpu, taken, cordoned)


def node(name: str, *states: GpuState) -> Node:
    return Node(name, states)


def asked(memory: int = 0, cores: int = 0, **more: Any) -> PodRequest:
    return PodRequest({"main": Request(**{"gpus": 1, "memory": MiB(memory), "cores": Percent(cores), **more})})


def on(one: Node, pods: Mapping[str, Leaver] | None = None, **more: Any) -> Candidate:
    return Candidate(one, pods=lambda: pods or {}, **more)


def uses(gpu: str, memory: int, cores: int = 0, *, whole: bool = False, priority: int = 0) -> Leaver:
    return Leaver({GpuUuid(gpu): GpuUsage(MiB(memory), cores, 1, whole)}, priority)


def helps(pod: PodRequest, *found: Candidate) -> list[str]:
    return remedies.helps(found, pod, RULES)


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (asked(600), "With up to 400 MiB instead of 600 MiB, the pod fits on node n2."),
        (asked(100, 80), "With up to 70 % of compute instead of 80 %, the pod fits on node n1."),
        (asked(memory_percent=50), "With up to 40 % of memory instead of 50 %, the pod fits on node n2."),
        (asked(300, gpus=3), "With 2 instead of 3 GPUs, the pod fits on node n1."),
        (asked(350, gpus=2), "With up to 300 MiB instead of 350 MiB, the pod fits on node n1."),
    ],
)
def test_the_largest_request_that_fits_on_any_node(pod: PodRequest, said: str) -> None:
    first = node("n1", state("n1", 0, 700, 30), state("n1", 1, 700, 90))
    second = node("n2", state("n2", 0, 600, 50), state("n2", 1, 900, 50))
    assert said in helps(pod, on(first), on(second))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes on which it is tried from now on whether a pod fits."""
    checks: list[str] = []
    real = placement.reason

    def reason(one: Node, pod: PodRequest, rules: Rules) -> placement.Reason | None:
        checks.append(one.name)
        return real(one, pod, rules)

    monkeypatch.setattr(placement, "reason", reason)
    return checks


def test_the_largest_request_beside_another_container_of_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both share the one GPU, so no amount that is free anywhere is the answer, and it is found by halving."""
    checks = counted(monkeypatch)
    pod = PodRequest({"a": Request(1, MiB(700)), "b": Request(1, MiB(400))})
    assert helps(pod, on(node("n1", state("n1", 0)))) == [
        "With up to 600 MiB instead of 700 MiB, container a of the pod fits on node n1.",
        "With up to 300 MiB instead of 400 MiB, container b of the pod fits on node n1.",
    ]
    assert len(checks) < 30


def random_nodes(chance: random.Random) -> Iterator[Node]:
    for number in range(chance.randint(1, 4)):
        name = f"n{number}"
        states = [
            state(name, index, chance.randrange(0, SIZE, 50), chance.randrange(0, 100, 10), cordoned=not index % 3)
            for index in range(chance.randint(1, 4))
        ]
        yield node(name, *states)


@pytest.mark.parametrize("seed", range(40))
def test_no_larger_request_fits(seed: int) -> None:
    """What is proposed is the largest amount that placement takes on any of the nodes."""
    chance = random.Random(seed)
    nodes = list(random_nodes(chance))
    request = Request(chance.randint(1, 2), MiB(chance.randrange(100, 1500, 50)), cores=Percent(chance.randint(0, 60)))
    pod = PodRequest({"main": request, **({"other": Request(1, MiB(200))} if seed % 2 else {})})

    def takes(amount: int) -> bool:
        smaller = dataclasses.replace(request, memory=MiB(amount))
        return any(
            placement.reason(one, PodRequest({**pod.containers, "main": smaller}), RULES) is None for one in nodes
        )

    if takes(request.memory):
        return
    best = max((amount for amount in range(1, request.memory) if takes(amount)), default=0)
    said = helps(pod, *(on(one) for one in nodes))
    found = [one for one in said if one.startswith(f"With up to {best} MiB instead of {request.memory} MiB")]
    assert bool(found) == bool(best), (best, said)


def test_a_gpu_that_is_mended_stays_cordoned() -> None:
    both = node("n1", state("n1", 0, healthy=False, cordoned=True), state("n1", 1, 900))
    assert not any("healthy again" in said for said in helps(asked(600), on(both)))
    sick = node("n1", state("n1", 0, healthy=False), state("n1", 1, 900))
    assert "With GPU 0 of node n1 healthy again, that node would take it." in helps(asked(600), on(sick))


def test_a_cordon_that_keeps_the_pod_out() -> None:
    cordoned = node("n1", state("n1", 0, 900), state("n1", 1, cordoned=True), state("n1", 2, cordoned=True))
    one = "With GPU 1 of node n1 no longer cordoned, that node would take it: `kubectl unigpu uncordon n1/1`."
    assert one in helps(asked(600), on(cordoned))
    two = (
        "With GPU 1, 2 of node n1 no longer cordoned, that node would take it: "
        "`kubectl unigpu uncordon n1/1` and `kubectl unigpu uncordon n1/2`."
    )
    assert two in helps(asked(600, gpus=2), on(cordoned))


def test_the_least_important_pod_ends_first_and_then_the_smallest() -> None:
    one = node("n1", state("n1", 0, 500), state("n1", 1, 600), state("n1", 2, 400))
    pods = {
        "t/small": uses("n1-2", 400, priority=5),
        "t/large": uses("n1-1", 600, priority=1),
        "t/middle": uses("n1-0", 500, priority=1),
    }
    assert "Once pod t/middle has ended, node n1 takes it." in helps(asked(900), on(one, pods))


def test_several_pods_of_one_gpu_and_none_that_could_be_spared() -> None:
    one = node("n1", state("n1", 0, 900, shares=3), state("n1", 1, 1000, shares=9))
    pods = {
        "t/a": uses("n1-0", 300, priority=0),
        "t/b": uses("n1-0", 500, priority=1),
        "t/c": uses("n1-0", 100, priority=0),
        **{f"t/x{number}": uses("n1-1", 110) for number in range(9)},
    }
    assert helps(asked(850), on(one, pods))[-1] == "Once pods t/a and t/b have ended, node n1 takes it."
    assert helps(asked(whole=True), on(one, pods)) == ["Once pods t/a, t/b and t/c have ended, node n1 takes it."]
    without_c = {title: leaver for title, leaver in pods.items() if title != "t/c"}
    assert helps(asked(whole=True), on(one, without_c)) == [], "a pod that may not be named keeps the GPU"


def test_a_whole_gpu_is_free_once_its_pod_has_ended() -> None:
    one = node("n1", state("n1", 0, SIZE, 100, whole=True))
    said = helps(asked(whole=True), on(one, {"t/w": uses("n1-0", SIZE, 100, whole=True)}))
    assert said == ["Once pod t/w has ended, node n1 takes it."]


def test_a_pod_of_several_gpus_and_a_gpu_that_is_gone() -> None:
    one = node("n1", state("n1", 0, 800), state("n1", 1, 800))
    both = Leaver({GpuUuid(f"n1-{index}"): GpuUsage(MiB(800), 0, 1) for index in (0, 1, 7)})
    assert "Once pod t/p has ended, node n1 takes it." in helps(asked(600, gpus=2), on(one, {"t/p": both}))


def test_lower_limits_and_closed_nodes() -> None:
    full = node("n1", state("n1", 0, 900))
    words = "pod t/p, container main: memory 900 -> 300 MiB"
    said = helps(asked(600), on(full, lowered=lambda: (words,)))
    assert said[-1] == f"With lower limits, node n1 takes it: {words} (`kubectl unigpu limit`)."
    empty = node("n2", state("n2", 0))
    closed = on(empty, fits=True, condition="Ready,SchedulingDisabled")
    assert helps(asked(600), on(full), closed)[0] == "Node n2 would fit, and is cordoned: `kubectl uncordon n2`."
    unready = on(empty, fits=True, condition="NotReady")
    assert helps(asked(600), unready) == [
        "Node n2 would fit, and isn't ready: find out why with `kubectl describe node`."
    ]


def test_preferences_of_the_pod() -> None:
    pod = PodRequest(asked(600).containers, Preferences(use_types=("A100",)))
    assert helps(pod, on(node("n1", state("n1", 0)))) == [
        "Without the pod's choice of GPU models and UUIDs, node n1 would take it."
    ]


def test_the_work_comes_in_pieces_and_does_not_grow_with_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(number: int) -> Candidate:
        name = f"n{number}"
        pods = {f"t/{name}-{one}": uses(f"{name}-0", 100) for one in range(9)}
        return on(node(name, state(name, 0, 900, shares=9), state(name, 1, healthy=False)), pods)

    checks = counted(monkeypatch)
    # Both memory and compute time are lacking, so only a mended GPU helps, and everything is tried.
    pod = asked(600, 100)
    found = [
        dataclasses.replace(one, node=dataclasses.replace(one.node, gpus=_busy(one.node)))
        for one in map(crowded, range(2000))
    ]
    most = before = 0
    for _ in remedies.tried(found[: survey.MAX_NODES], pod, RULES):
        most, before = max(most, len(checks) - before), len(checks)
    assert most <= survey.MAX_NODES
    assert before <= 4 * survey.MAX_NODES
    checks.clear()
    remedies.helps(found, pod, RULES)
    assert len(checks) <= 4 * survey.MAX_NODES, "of 2000 nodes and 18,000 pods"


def _busy(node: Node) -> tuple[GpuState, ...]:
    return tuple(
        dataclasses.replace(one, taken=dataclasses.replace(one.taken, cores=50)) if one.taken.shares else one
        for one in node.gpus
    )


def test_survey_of_what_is_free() -> None:
    seen = Survey(asked(600, 10))
    seen.add(node("n1", state("n1", 0, 700, 90), state("n1", 1, 600, 95, healthy=False)))
    seen.add(node("n2", state("n2", 0, 750, 20), state("n2", 1), state("n2", 2, SIZE, 100, whole=True)))
    seen.add(Node("none", ()))
    assert (seen.nodes, seen.largest) == (2, SIZE)
    assert (seen.memory.amount, seen.memory.gpu) == (SIZE, "GPU 1 of node n2")
    assert (seen.cores.amount, seen.cores.gpu) == (100, "GPU 1 of node n2")
    assert (seen.empty.amount, seen.empty.node) == (1, "n2")
    assert [one.name for one in seen.closest()] == ["n2", "n1"]


def test_the_closest_of_many_nodes_by_memory_by_cores_and_those_with_cordoned_gpus() -> None:
    seen = Survey(asked(600, 10))
    for number in range(1000):
        seen.add(node(f"n{number}", state(f"n{number}", 0, number, 99 - number // 20, cordoned=number == 500)))
    closest = [one.name for one in seen.closest()]
    half = survey.MAX_NODES // 2
    assert closest[:half] == [f"n{number}" for number in range(half)]
    assert {f"n{number}" for number in range(1000 - half, 1000)} | {"n500"} == set(closest[half:])
