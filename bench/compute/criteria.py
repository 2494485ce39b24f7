"""Goals: whether a measured share or wait is within what is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.compute.cells import MS

SECOND: Final = 1_000_000_000
WINDOW: Final = 5 * SECOND
"""Window over which a share is judged, from the first launch, ns."""
START: Final = SECOND
"""Window over which the start is judged, ns."""
POINTS: Final = 2.0
POINTS_START: Final = 5.0
WAIT: Final = 20 * MS
LATE: Final = 30 * MS
"""Delay of the host beyond which a missed goal says more about the host, and is measured again, ns."""
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """A measured value and its goal."""

    measured: float
    allowed: float
    doubt: float = 0.0
    """Part of the measured value that may be due to a busy host."""

    @property
    def held(self) -> bool:
        return self.measured <= self.allowed

    @property
    def doubtful(self) -> bool:
        """Whether the goal was missed by no more than `doubt`."""
        return not self.held and self.measured - self.doubt <= self.allowed


def share(measured: float, limit: float, kernel: int, window: int, points: float, capable: float = 100.0) -> Verdict:
    """Judge a share's error in points of the GPU; `capable` is the share that the programs can submit.

    A kernel can't be divided: where one kernel is longer than the tolerance, the tolerance is one kernel.
    """
    error = max(measured - limit, min(limit, capable) - measured, 0.0)
    return Verdict(error, max(points, 100 * kernel / window))


def longest_wait(measured: int, kernel: int, limit: float, processes: int, late: int = 0) -> Verdict:
    """Judge a launch's longest wait, ns: 20 ms, or the time to earn one kernel for each process that waits its turn."""
    return Verdict(measured, max(WAIT, processes * kernel * 100 / limit), late)


def percentile(values: Sequence[int], part: float) -> int:
    """Return the value that this part of all values doesn't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
