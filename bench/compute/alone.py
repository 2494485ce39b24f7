"""Measure one container alone on a GPU: its share, and how long its launches waited."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compute import criteria, testbed
from bench.compute.cells import Cell
from bench.compute.series import Series

PROFILES: Final = {40: "t4", 84: "a40", 108: "a100-40", 132: "h100", 188: "rtxpro6000"}
"""Simulated GPUs by their multiprocessors."""
BLOCK: Final = 256
BEAT: Final = 1_000_000
"""Interval at which a sleeper records how late the host wakes it, ns."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures from the first launch on."""

    share: float
    """Percent of the GPU over the window."""
    start: float
    """Percent of the GPU over the first second of the window."""
    longest: int
    """Longest call that launched, ns."""
    settled: int
    """Longest of those after the first second, ns."""
    p99: int
    late: int
    """Longest delay with which the host woke a sleeper, ns; so much of a wait may be due to the host."""
    launches: int
    first: int
    """CLOCK_MONOTONIC of the first launch, ns."""
    group: int
    series: Series


async def measure(
    folder: Path,
    profile: str,
    limit: testbed.Limit | None,
    words: testbed.Words,
    processes: int = 1,
    *,
    window: int = criteria.WINDOW,
) -> Measured:
    """Run one container on a new GPU for a window; its programs launch as `words` say (see client.c)."""
    gpu = await testbed.make_gpu(folder, profile)
    async with testbed.container(gpu, folder / "container", limit) as held, testbed.watch(gpu) as watch:
        programs = await held.start("load", {"seconds": window / 1e9 + 0.2, "beat": BEAT} | dict(words), processes)
        await asyncio.gather(*(program.ready() for program in programs))
        for program in programs:
            program.begin()
        reports = await asyncio.gather(*(program.report() for program in programs))
        first = min(report.first for report in reports)
        await watch.until(first + window)
    return Measured(
        share=watch.series.share_gpu(first, first + window),
        start=watch.series.share_gpu(first, first + min(window, criteria.START)),
        longest=max(report.longest for report in reports),
        settled=max(report.settled for report in reports),
        p99=max(report.p99 for report in reports),
        late=max(report.late for report in reports),
        launches=sum(report.launches for report in reports),
        first=first,
        group=held.group,
        series=watch.series,
    )


async def measure_cell(folder: Path, cell: Cell, *, limited: bool = True, window: int = criteria.WINDOW) -> Measured:
    """Measure one cell of the matrix."""
    return await measure(
        folder,
        PROFILES[cell.multiprocessors],
        testbed.Limit(cell.limit) if limited else None,
        {"kernel": cell.kernel, "grid": cell.grid, "block": BLOCK},
        cell.processes,
        window=window,
    )
