"""Scenario of soft shares: idle time of a neighbour is lent, and given back when the neighbour returns.

The node agent's own loop sets what each container may use.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compute import criteria, scenarios, testbed
from bench.compute.cells import MS
from bench.compute.series import Series
from unigpu.requests import ComputePolicy

BORROWER: Final = testbed.Limit(30, 100, ComputePolicy.SOFT)
NEIGHBOUR: Final = testbed.Limit(70)
SOON: Final = 200 * MS
WINDOW: Final = 100 * MS
"""Window over which a share must hold to count, ns."""
TOLERATED: Final = 10
"""Tolerance, percent of the GPU."""
ROUNDS: Final = 5
PAUSE: Final = 1.5
"""Seconds between the neighbour's stops and returns."""


@dataclass(frozen=True, slots=True)
class Swings:
    """Samples taken while the neighbour stopped and returned several times."""

    series: Series
    borrower: int
    neighbour: int
    """Process groups."""
    first: int
    moments: Sequence[tuple[str, int]]
    """`pause` and `go` in turn, CLOCK_MONOTONIC in ns."""


async def swing(folder: Path, rounds: int) -> Swings:
    """Run a soft container next to one that stops and returns."""
    gpu = await testbed.make_gpu(folder, scenarios.PROFILE)
    async with contextlib.AsyncExitStack() as stack:
        borrower = await stack.enter_async_context(testbed.container(gpu, folder / "borrower", BORROWER))
        neighbour = await stack.enter_async_context(testbed.container(gpu, folder / "neighbour", NEIGHBOUR))
        await stack.enter_async_context(testbed.lender([borrower.folder, neighbour.folder]))
        watch = await stack.enter_async_context(testbed.watch(gpu))
        words: testbed.Words = {"kernel": 1 * MS, "ahead": 8, "seconds": 60}
        programs = [(await each.start("load", words))[0] for each in (borrower, neighbour)]
        await asyncio.gather(*(program.ready() for program in programs))
        for program in programs:
            program.begin()
        for _ in range(rounds):
            for word in ("pause", "go"):
                await asyncio.sleep(PAUSE)
                programs[1].say(word)
        await asyncio.sleep(PAUSE)
        for program in programs:
            program.say("end")
        reports = await asyncio.gather(*(program.report() for program in programs))
        end = reports[1].moments[-1][1] + int((PAUSE - 0.3) * criteria.SECOND)
        await watch.until(end)
    return Swings(
        watch.series, borrower.group, neighbour.group, max(report.first for report in reports), reports[1].moments
    )


def delay(series: Series, since: int, wanted: Mapping[int, tuple[float, float]]) -> int:
    """Return the time until each group's share stays within its bounds for a whole window, ns; at most a second."""
    for at in range(since, since + criteria.SECOND, 5 * MS):
        if all(least <= series.share(group, at, at + WINDOW) <= most for group, (least, most) in wanted.items()):
            return at - since
    return criteria.SECOND


async def soft(folder: Path) -> list[scenarios.Row]:
    """Measure several rounds; report the worst."""
    found = await swing(folder, ROUNDS)
    lent, returned = [], []
    for word, at in found.moments:
        if word == "pause":
            lent.append(delay(found.series, at, {found.borrower: (100 - TOLERATED, 101)}))
        else:
            due = {found.borrower: (0, 30 + TOLERATED), found.neighbour: (70 - TOLERATED, 101)}
            returned.append(delay(found.series, at, due))
    return [
        scenarios.Row(
            f"soft 30 % next to 70 %: {name}",
            criteria.Verdict(max(times) / MS, SOON / MS),
            "ms",
            "each time " + ", ".join(f"{time / MS:.0f}" for time in times),
        )
        for name, times in (("lent", lent), ("given back", returned))
    ]
