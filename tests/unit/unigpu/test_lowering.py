"""What containers could do without, and the record of what was lowered."""

import dataclasses
import json

import pytest

from unigpu import errors, limits, lowering, names
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.lowering import Amounts, Keep, Lowerable, Record
from unigpu.requests import ComputePolicy, Request
from unigpu.units import GpuUuid, MiB, Percent

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
GPUS = [Gpu(A, 0, 0, "X", MiB(16384)), Gpu(B, 1, 1, "X", MiB(16384))]
HARD = Request(1, MiB(4096), cores=Percent(50))
SOFT = dataclasses.replace(HARD, policy=ComputePolicy.SOFT, ceiling=Percent(100))
KEEP = Keep(reserve=10, cores=5)


def share(memory: int = 4096, cores: int = 50, gpu: GpuUuid = A) -> Share:
    return Share(gpu, MiB(memory), Percent(cores))


def amounts(memory: int, cores: int) -> Amounts:
    return Amounts(MiB(memory), Percent(cores))


@pytest.mark.parametrize(
    ("request_", "held", "expected"),
    [
        pytest.param(HARD, 0, amounts(512, 50), id="idle: a step of memory, and no compute time of a hard share"),
        pytest.param(HARD, 100, amounts(512, 50), id="one step holds it and the reserve"),
        pytest.param(HARD, 103, amounts(1024, 50), id="the next step"),
        pytest.param(HARD, 3600, amounts(4096, 50), id="holds nearly all"),
        pytest.param(HARD, 9999, amounts(4096, 50), id="holds more than its limit"),
        pytest.param(SOFT, 3600, amounts(4096, 5), id="soft: compute time"),
        pytest.param(
            dataclasses.replace(SOFT, ceiling=Percent(50)), 3600, amounts(4096, 50), id="a ceiling of its own"
        ),
        pytest.param(dataclasses.replace(SOFT, isolated=False), 0, amounts(4096, 50), id="not limited"),
    ],
)
def test_what_a_container_keeps(request_: Request, held: int, expected: Amounts) -> None:
    assert lowering.least(request_, share(), MiB(held), KEEP) == expected


def test_a_container_without_a_memory_limit_gives_none() -> None:
    assert lowering.least(SOFT, share(memory=0), MiB(100), KEEP) == amounts(0, 5)


def test_little_memory_is_not_worth_it() -> None:
    assert lowering.least(HARD, share(memory=64), MiB(0), KEEP).memory == 64


def test_the_gpu_of_which_a_container_holds_the_most_decides() -> None:
    two = dataclasses.replace(HARD, gpus=2)
    shares = [share(), share(gpu=B)]
    found = lowering.entry("u", "main", two, shares, [MiB(0), MiB(2000)], KEEP)
    assert found == Lowerable("u", "main", (A, B), amounts(4096, 50), amounts(2560, 50))
    assert lowering.entry("u", "main", two, shares, [MiB(0), MiB(4000)], KEEP) is None
    assert lowering.entry("u", "main", two, [share(), share(8192, gpu=B)], [MiB(0), MiB(0)], KEEP) is None


def test_the_annotation_of_a_node_returns_what_it_was_given() -> None:
    found = (
        Lowerable("u1", "main", (A,), amounts(4096, 50), amounts(512, 5)),
        Lowerable("u2", "side", (A, B), amounts(2048, 0), amounts(256, 0)),
    )
    text = lowering.dump(found, GPUS)
    assert lowering.load(text, GPUS) == found
    assert lowering.load(text, GPUS[:1]) == found[:1], "containers on other GPUs are left out"
    assert lowering.dump((), GPUS) is None
    assert lowering.load(None, GPUS) == ()


def test_of_too_many_containers_those_are_named_that_could_give_the_most() -> None:
    found = [
        Lowerable(f"{number:036}", "main", (A,), amounts(4096, 50), amounts(number + 1, 50))
        for number in range(lowering.MAX_CONTAINERS + 5)
    ]
    text = lowering.dump(found, GPUS)
    assert text is not None
    kept = lowering.load(text, GPUS)
    assert [one.least.memory for one in kept] == list(range(1, lowering.MAX_CONTAINERS + 1))
    assert len(text) < 100 * lowering.MAX_CONTAINERS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version":2,"containers":[]}',
        '{"version":1,"containers":[["u","main",[0],[4096],[1,1]]]}',
        '{"version":1,"containers":[["u","main",[0],[4096,-1],[1,1]]]}',
        '{"version":1,"containers":[["u","main",[0],[4096,1],[101,1]]]}',
        '{"version":1,"containers":[["u",5,[0],[4096,1],[1,1]]]}',
        '{"version":1,"containers":[["u","main",["0"],[4096,1],[1,1]]]}',
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(errors.Malformed, match=names.ANNOTATION_LOWERABLE):
        lowering.load(text, GPUS)


def lowered(annotations: dict[str, str], memory: int, cores: int = 50, at: int = 7) -> dict[str, str]:
    found = lowering.lower(annotations, {"main": SOFT}, {"main": amounts(memory, cores)}, "ns/urgent", at)
    assert found is not None
    return {**annotations, **found}


def test_lowering_keeps_what_the_pod_had() -> None:
    after = lowered({}, 1024, 20)
    assert json.loads(after[names.ANNOTATION_LIMITS]) == {"main": {"memory": 1024, "cores": 20}}
    record = lowering.record(after)
    assert record == Record("ns/urgent", 7, None, after[names.ANNOTATION_LIMITS])
    effective = limits.effective(SOFT, limits.from_annotations(after, {"main": SOFT})["main"])
    assert (effective.policy, effective.ceiling) == (ComputePolicy.SOFT, 100), "it may still use what is idle"


def test_lowering_twice_keeps_what_the_pod_had_first() -> None:
    own = {names.ANNOTATION_LIMITS: "memory=3Gi,ceiling=80"}
    after = lowered(lowered(own, 2048), 1024, 10, at=9)
    assert json.loads(after[names.ANNOTATION_LIMITS]) == {"main": {"memory": 1024, "cores": 10, "ceiling": 80}}
    record = lowering.record(after)
    assert record is not None
    assert (record.before, record.at) == ("memory=3Gi,ceiling=80", 9)


def test_limits_that_somebody_changed_afterwards_are_theirs() -> None:
    after = {**lowered({}, 1024), names.ANNOTATION_LIMITS: "memory=2Gi"}
    assert lowering.record(after) is None
    again = lowering.record(lowered(after, 1024))
    assert again is not None
    assert again.before == "memory=2Gi"


@pytest.mark.parametrize("memory", [4096, 5000, 0])
def test_nothing_is_raised(memory: int) -> None:
    assert lowering.lower({}, {"main": SOFT}, {"main": amounts(memory, 50)}, "ns/urgent", 7) is None


def test_containers_without_limits_are_left_alone() -> None:
    whole = Request(1, whole=True)
    assert lowering.lower({}, {"main": whole}, {"main": amounts(5, 5)}, "ns/urgent", 7) is None
    assert lowering.lower({}, {"main": SOFT}, {"other": amounts(5, 5)}, "ns/urgent", 7) is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version":1,"for":"a","at":-1,"before":null,"wrote":""}', '{"version":1,"for":1}']
)
def test_other_records_are_refused(text: str) -> None:
    with pytest.raises(errors.Malformed, match=names.ANNOTATION_LOWERED):
        lowering.load_record(text)
    assert lowering.record({names.ANNOTATION_LOWERED: text}) is None
