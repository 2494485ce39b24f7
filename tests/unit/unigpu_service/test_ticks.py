"""Loops that wake together."""

import asyncio

import pytest

from unigpu_service import ticks


@pytest.mark.parametrize(
    ("now", "interval", "when"),
    [(10.0, 1.0, 11.0), (10.3, 1.0, 11.0), (10.95, 1.0, 12.0), (10.3, 0.5, 10.5), (10.3, 5.0, 15.0), (10.3, 0.0, 10.3)],
)
async def test_loops_of_the_same_interval_are_due_together(
    monkeypatch: pytest.MonkeyPatch, now: float, interval: float, when: float
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    found = ticks.due(interval)
    monkeypatch.undo()
    assert found == pytest.approx(when)


async def test_a_tick_ends_at_its_time() -> None:
    loop = asyncio.get_running_loop()
    expected = ticks.due(0.02)
    await ticks.tick(0.02)
    assert loop.time() >= expected - 0.001
    await ticks.tick(0)
