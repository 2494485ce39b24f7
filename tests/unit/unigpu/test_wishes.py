"""What a wish from inside a container means, whatever a program wrote."""

import dataclasses
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import errors, wishes
from unigpu.allocations import Share
from unigpu.limits import AS_REQUESTED, Limit
from unigpu.requests import ComputePolicy, Request
from unigpu.units import GpuUuid, MiB, Percent
from unigpu.wishes import Pace, Wish

HARD = Request(gpus=1, memory=MiB(200), cores=Percent(30), policy=ComputePolicy.HARD)
SOFT = dataclasses.replace(HARD, policy=ComputePolicy.SOFT, ceiling=Percent(50))
FREE = Request(gpus=1, memory=MiB(200))


def shares(request: Request) -> list[Share]:
    return [Share(GpuUuid(f"GPU-{gpu}"), request.memory, request.cores) for gpu in range(request.gpus)]


def wish(*gpus: tuple[int, int]) -> Wish:
    return Wish(1, [MiB(memory) for memory, _ in gpus], [Percent(cores) for _, cores in gpus])


def wanted(request: Request, *gpus: tuple[int, int], limit: Limit = AS_REQUESTED) -> Limit:
    return wishes.wanted(wish(*gpus), request, shares(request), limit)


@pytest.mark.parametrize(
    ("request_", "asked", "becomes"),
    [
        (HARD, (300, 0), {"memory": 300}),
        (HARD, (300, 40), {"memory": 300, "cores": 40}),
        (HARD, (100, 10), {}),
        (HARD, (200, 30), {}),
        (HARD, (0, 0), {}),
        (SOFT, (0, 40), {}),
        (SOFT, (0, 60), {"ceiling": 60}),
        (FREE, (0, 60), {}),
    ],
)
def test_only_what_is_above_the_limits_is_asked_for(
    request_: Request, asked: tuple[int, int], becomes: dict[str, Any]
) -> None:
    assert wanted(request_, asked) == Limit(**becomes)


def test_other_limits_stay() -> None:
    before = Limit(memory=MiB(200), cores=Percent(20), policy=ComputePolicy.HARD)
    lowered = dataclasses.replace(HARD, cores=Percent(20))
    assert wanted(lowered, (300, 0), limit=before) == dataclasses.replace(before, memory=MiB(300))
    assert wanted(lowered, (0, 30), limit=before) == dataclasses.replace(before, cores=Percent(30))


def test_gpus_of_one_container_have_the_same_limits() -> None:
    two = dataclasses.replace(HARD, gpus=2)
    assert wanted(two, (300, 0), (300, 0)) == Limit(memory=MiB(300))
    with pytest.raises(errors.Denied, match=r"memory = 300, none: .*; accepted: one value for all of them, .* 300 MiB"):
        wanted(two, (300, 0), (0, 0))
    with pytest.raises(errors.Denied, match="cores = 40, 35: "):
        wanted(two, (0, 40), (0, 35))


def test_the_command_that_does_the_same() -> None:
    assert wishes.options(AS_REQUESTED, Limit(memory=MiB(300))) == "--memory 300"
    before = Limit(memory=MiB(300), ceiling=Percent(50))
    assert wishes.options(before, dataclasses.replace(before, ceiling=Percent(60))) == "--ceiling 60"


def test_bytes_are_rounded_up_to_whole_mib() -> None:
    content = struct.pack("<Q8x", 7) + struct.pack("<QI4x", (300 << 20) + 1, 10) + bytes(15 * 16)
    assert wishes.unpack(content, 1) == Wish(7, [MiB(301)], [Percent(10)])
    assert wishes.unpack(bytes(wishes.WISH_SIZE), 1) is None
    assert wishes.unpack(content[:-1], 1) is None


@given(st.binary(min_size=wishes.WISH_SIZE, max_size=wishes.WISH_SIZE), st.integers(1, 16))
def test_whatever_is_written_is_a_wish_or_refused(content: bytes, gpus: int) -> None:
    found = wishes.unpack(content, gpus)
    if found is not None:
        request = dataclasses.replace(HARD, gpus=gpus)
        try:
            wishes.wanted(found, request, shares(request), AS_REQUESTED)
        except errors.Denied as error:
            assert "accepted: " in str(error)


def test_a_wish_is_stale_before_and_after_somebody_waits() -> None:
    asked = dataclasses.replace(wish((1, 1)), number=100)
    assert [asked.stale(now) for now in (99, 100, 99 + wishes.PATIENCE_NS, 100 + wishes.PATIENCE_NS)] == [
        *(True, False, False, True)
    ]


@given(st.text(max_size=600))
def test_an_answer_has_its_size_and_is_readable(text: str) -> None:
    text = text.replace("\0", "")
    content = bytes(wishes.ANSWER_OFFSET) + wishes.ANSWER_NUMBER.pack(9) + wishes.answer(text)
    assert len(content) == wishes.ANSWER_OFFSET + 416
    number, granted, said = wishes.read_answer(content)
    assert (number, granted) == (9, not text)
    assert said == text or (said.endswith("…") and text.startswith(said[:-1]) and len(text.encode()) >= 400)


def test_a_burst_and_then_one_each_second() -> None:
    pace = Pace()
    assert [pace.take(0) for _ in range(wishes.BURST + 1)] == [True] * wishes.BURST + [False]
    assert [pace.take(moment * wishes.INTERVAL_NS // 2) for moment in (1, 2, 3, 4)] == [False, True, False, True]
    assert [pace.take(10**15) for _ in range(wishes.BURST + 1)] == [True] * wishes.BURST + [False]
