"""When a node's pods are read again."""

import asyncio
from collections.abc import Sequence

import pytest

from scheduler import staleness_guard
from scheduler.cache import ClusterCache
from scheduler.staleness_guard import StalenessGuard
from unigpu import errors
from unigpu.allocations import GpuUsage
from unigpu.ledger import Booking, CapacityLedger
from unigpu.units import GpuUuid, MiB
from unigpu_kube.client import Json


class Reader:
    """An API server that counts its questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.fails = 0

    async def read(self, node: str) -> Sequence[Json]:
        self.asked.append(node)
        self.began.set()
        await self.open.wait()
        if self.fails:
            self.fails -= 1
            raise errors.Unavailable("not now")
        return []


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_node_is_read_once_until_there_is_a_pause() -> None:
    reader, clock = Reader(), Clock()
    guard = StalenessGuard(reader.read, ClusterCache(CapacityLedger()), clock)
    for step, expected in ((0.0, 1), (4.0, 1), (4.0, 1), (staleness_guard.IDLE + 1, 2), (1.0, 2)):
        clock.now += step
        guard.note_request()
        await guard.ensure_fresh("n")
        assert len(reader.asked) == expected
    await guard.ensure_fresh("m")
    assert reader.asked == ["n", "n", "m"]


async def test_those_who_wait_share_one_question() -> None:
    reader = Reader()
    guard = StalenessGuard(reader.read, ClusterCache(CapacityLedger()), Clock())
    guard.note_request()
    reader.open.clear()
    waiting = [asyncio.create_task(guard.ensure_fresh("n")) for _ in range(5)]
    await reader.began.wait()
    waiting[0].cancel()
    reader.open.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 4
    assert reader.asked == ["n"]


async def test_a_question_without_an_answer_is_asked_again() -> None:
    reader = Reader()
    guard = StalenessGuard(reader.read, ClusterCache(CapacityLedger()), Clock())
    guard.note_request()
    reader.fails = 1
    with pytest.raises(errors.Unavailable):
        await guard.ensure_fresh("n")
    await guard.ensure_fresh("n")
    await guard.ensure_fresh("n")
    assert reader.asked == ["n", "n"]


async def test_only_what_was_known_before_the_question_can_be_gone_after_it() -> None:
    reader, ledger = Reader(), CapacityLedger()
    guard = StalenessGuard(reader.read, ClusterCache(ledger), Clock())
    uses = {GpuUuid("a"): GpuUsage(MiB(1), 0, 1)}
    ledger.book("old", Booking("default/old", "n", uses))
    ledger.book("assumed", Booking("default/assumed", "n", uses, confirmed=False))
    reader.open.clear()
    asking = asyncio.create_task(guard.refresh("n"))
    await reader.began.wait()
    ledger.book("new", Booking("default/new", "n", uses))
    reader.open.set()
    await asking
    assert {uid for uid, _ in ledger.bookings()} == {"assumed", "new"}
