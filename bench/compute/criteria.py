"""Goals: whether a measured share or wait is within what is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.compute.cells import MS

SECOND: Final = 1_000_000_000
WINDOW: Final = 5 * SECOND
"""Over which a share is judged, from the first launch, ns."""
START: Final = SECOND
"""The same for the start."""
POINTS: Final = 2.0
POINTS_START: Final = 5.0
WAIT: Final = 20 * MS
LATE: Final = 30 * MS
"""Where the host woke a program later than that, what is missed says more of the host, and is measured again, ns."""
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured, what it may be, and whether it is."""

    measured: float
    allowed: float
    doubt: float = 0.0
    """So much of what was measured may be the host's, which was busy with others."""

    @property
    def held(self) -> bool:
        return self.measured <= self.allowed

    @property
    def doubtful(self) -> bool:
        """Missed by no more than what may be the host's."""
        return not self.held and self.measured - self.doubt <= self.allowed


def share(measured: float, limit: float, kernel: int, window: int, points: float, capable: float = 100.0) -> Verdict:
    """A share's error in points of the GPU; what the programs can't submit is no error.

    One kernel can't be divided: where it is longer than the tolerated part of the window, it is what is tolerated.
    """
    error = max(measured - limit, min(limit, capable) - measured, 0.0)
    return Verdict(error, max(points, 100 * kernel / window))


def longest_wait(measured: int, kernel: int, limit: float, processes: int, late: int = 0) -> Verdict:
    """A launch's longest wait, ns: 20 ms, or as long as it takes to earn a kernel for each that waits its turn."""
    return Verdict(measured, max(WAIT, processes * kernel * 100 / limit), late)


def percentile(values: Sequence[int], part: float) -> int:
    """The value that this part of all stayed within."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
