"""Cordons: the annotation, how GPUs are named, and what placement makes of them."""

import json

import pytest

from unigpu import cordons, errors, placement
from unigpu.allocations import GpuUsage
from unigpu.cordons import MAX_GPUS, MAX_REASON, Cordon
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Preferences, Request
from unigpu.units import GpuUuid, MiB

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
GPUS = (Gpu(A, 0, 0, "X", MiB(100)), Gpu(B, 11, 1, "X", MiB(100)))
NOW = "2026-01-31T12:00:00Z"
LATER = "2026-02-01T00:00:00Z"


def test_what_is_written_is_read() -> None:
    found = cordons.cordon({}, A, "fans – loud", NOW)
    assert found == {A: Cordon("fans – loud", NOW)}
    text = cordons.dump(found)
    assert text is not None
    assert json.loads(text) == {A: {"reason": "fans – loud", "since": NOW}}
    assert cordons.load(text) == found
    assert cordons.load(None) == {}
    assert cordons.dump(cordons.uncordon(found, A)) is None
    assert cordons.uncordon(found, B) == found


def test_cordoning_again_keeps_the_time() -> None:
    found = cordons.cordon({}, A, "fans", NOW)
    assert cordons.cordon(found, A, "", LATER) == found
    assert cordons.cordon(found, A, "memory", LATER) == {A: Cordon("memory", NOW)}


@pytest.mark.parametrize("reason", ["x" * (MAX_REASON + 1), "two\nlines", "\x1b[31m"])
def test_a_reason_that_cannot_be_shown_is_refused(reason: str) -> None:
    with pytest.raises(errors.Denied, match="accepted: one line of up to 256 characters"):
        cordons.cordon({}, A, reason, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"GPU-a": 1}',
        '{"GPU-a": {"reason": 1}}',
        '{"GPU-a": {"since": "a\\nb"}}',
        json.dumps({"x" * 129: {}}),
        json.dumps({f"GPU-{number}": {} for number in range(MAX_GPUS + 1)}),
        json.dumps({"GPU-a": {"reason": "x" * (MAX_REASON + 1)}}),
    ],
    ids=range(7),
)
def test_what_is_not_of_the_form(text: str) -> None:
    with pytest.raises(errors.Malformed, match="cordoned annotation can't be read"):
        cordons.load(text)


@pytest.mark.parametrize(("name", "uuid"), [("0", A), ("00", A), ("11", B), ("GPU-b", B), ("GPU-gone", "GPU-gone")])
def test_a_gpu_is_named_by_index_or_uuid(name: str, uuid: str) -> None:
    assert cordons.find_gpu(name, GPUS, {GpuUuid("GPU-gone"): Cordon()}) == uuid


@pytest.mark.parametrize("name", ["1", "GPU-c", "", "²", "-0"])
def test_a_gpu_that_the_node_does_not_have(name: str) -> None:
    with pytest.raises(errors.Denied, match=r"accepted: an index \(0, 11\) or a UUID"):
        cordons.find_gpu(name, GPUS, {})
    with pytest.raises(errors.Denied, match="accepted: a GPU of a node whose node agent reports GPUs"):
        cordons.find_gpu(name, (), {})


def ledger(*cordoned: GpuUuid) -> CapacityLedger:
    found = CapacityLedger()
    found.set_node("n", GPUS, NodeMode.MIXED, None, frozenset(cordoned))
    return found


def reason(of: CapacityLedger, request: Request, **preferences: object) -> str | None:
    node = of.node("n")
    assert node is not None
    wish = PodRequest({"main": request}, Preferences(**preferences))  # type: ignore[arg-type]
    found = placement.reason(node, wish, Rules())
    return None if found is None else found.text


def test_nothing_new_is_placed_on_a_cordoned_gpu() -> None:
    of = ledger(A)
    node = of.node("n")
    assert node is not None
    wish = PodRequest({"main": Request(1, MiB(10))})
    assert placement.place(node, wish, Rules()).containers["main"][0].gpu == B
    needs = "container main needs"
    assert (
        reason(of, Request(2, MiB(10))) == f"{needs} 2 GPUs with 10 MiB free on each: only 1 of 2 fits, 1 of 2 cordoned"
    )
    assert reason(of, Request(2, whole=True)) == f"{needs} 2 whole GPUs: only 1 of 2 fits, 1 of 2 cordoned"
    assert reason(of, Request(1, MiB(10)), use_uuids=(A,)) is not None
    of.set_node("n", GPUS, NodeMode.MIXED, None, frozenset((A, B)))
    assert reason(of, Request(1)) == "container main needs a share of 1 GPU: 2 of 2 cordoned"
    of.set_node("n", GPUS, NodeMode.MIXED, None)
    assert reason(of, Request(2, whole=True)) is None


def test_pods_on_a_cordoned_gpu_stay_booked_and_make_no_room_by_leaving() -> None:
    of = ledger()
    of.book("1", Booking("default/p", "n", {A: GpuUsage(MiB(60), 0, 1)}))
    before = of.signature("n")
    of.set_node("n", GPUS, NodeMode.MIXED, None, frozenset((A,)))
    node, without = of.node("n"), of.without("n", {"1"})
    assert node is not None
    assert without is not None
    assert [state.taken.memory for state in node.gpus] == [60, 0]
    assert [state.cordoned for state in without.gpus] == [True, False]
    assert of.signature("n") != before, "nodes that differ in a cordon share no answer"
    assert of.overbooked() == []
