"""Measure the cells of the matrix, several at once where there are enough CPUs."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.compute import alone, criteria
from bench.compute.cells import MS, US, Cell

HASTY: Final = 50 * US
"""Length of kernels below which launching keeps a CPU busy, so that a program may be unable to fill the GPU, ns."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A cell that could not be measured."""

    cell: Cell
    why: str


@dataclass(frozen=True, slots=True)
class Line:
    """The result of a cell."""

    cell: Cell
    capable: float
    """Share that its programs reach without a limit, percent."""
    measured: alone.Measured
    share: criteria.Verdict
    start: criteria.Verdict
    wait: criteria.Verdict
    settled: criteria.Verdict
    """Verdict on waits after the first second, when costs are known."""

    @property
    def held(self) -> bool:
        return self.share.held and self.start.held and self.wait.held


def judged(cell: Cell, capable: float, measured: alone.Measured) -> Line:
    """Judge a cell."""

    def wait(longest: int) -> criteria.Verdict:
        return criteria.longest_wait(longest, cell.kernel, cell.limit, cell.processes, measured.late)

    return Line(
        cell=cell,
        capable=capable,
        measured=measured,
        share=criteria.share(measured.share, cell.limit, cell.kernel, criteria.WINDOW, criteria.POINTS, capable),
        start=criteria.share(measured.start, cell.limit, cell.kernel, criteria.START, criteria.POINTS_START, capable),
        wait=wait(measured.longest),
        settled=wait(measured.settled),
    )


def cost(cell: Cell, processors: int) -> int:
    """Return the number of CPUs to reserve for a cell."""
    wanted = cell.processes + 1 if cell.kernel < HASTY else 2 if cell.kernel < MS else 1
    return min(wanted, processors)


class Processors:
    """CPUs to reserve; a cell that needs several reserves them in one step."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = asyncio.Condition()

    async def take(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= count)
            self._free -= count

    async def give(self, count: int) -> None:
        async with self._changed:
            self._free += count
            self._changed.notify_all()


async def capability(folder: Path, cells: Sequence[Cell]) -> dict[tuple[int, int, int], float]:
    """Measure what programs reach without a limit, by kernel, grid and processes, where launching may limit it."""
    found: dict[tuple[int, int, int], float] = {}
    for cell in cells:
        key = (cell.kernel, cell.grid, cell.processes)
        if cell.kernel < HASTY and key not in found:
            name = folder / f"bare-{len(found)}"
            bare = await alone.measure_cell(name, replace(cell, limit=100), limited=False, window=criteria.START)
            found[key] = bare.share
    return found


async def run(folder: Path, cells: Sequence[Cell], tell: Callable[[Line | Failed], None]) -> list[Line | Failed]:
    """Measure every cell; call `tell` for each when it is done."""
    count = os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0))
    processors = Processors(count)
    capable = await capability(folder, cells)

    async def one(place: int, cell: Cell) -> Line | Failed:
        wanted = cost(cell, count)
        line: Line | Failed
        reach = capable.get((cell.kernel, cell.grid, cell.processes), 100.0)
        for number in range(criteria.TRIES):
            await processors.take(wanted)
            try:
                measured = await alone.measure_cell(folder / f"cell-{place}-{number}", cell)
                line = judged(cell, reach, measured)
            except (RuntimeError, TimeoutError) as error:
                line = Failed(cell, str(error))
                break
            finally:
                await processors.give(wanted)
            if line.held or measured.late <= criteria.LATE:
                break
        tell(line)
        return line

    return list(await asyncio.gather(*(one(place, cell) for place, cell in enumerate(cells))))
