"""The matrix of single containers: all cells, and a subset in which every pair of values meets."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

US: Final = 1_000
MS: Final = 1_000_000

LIMITS: Final = (5, 10, 30, 50, 70, 90, 95)
"""Percent of the GPU."""
KERNELS: Final = (5 * US, 20 * US, 100 * US, 1 * MS, 10 * MS, 50 * MS, 200 * MS)
"""Length of one kernel, ns."""
MULTIPROCESSORS: Final = (40, 84, 108, 132, 188)
GRIDS: Final = (1, 256, 65536)
"""Blocks of a launch."""
PROCESSES: Final = (1, 4)


@dataclass(frozen=True, slots=True)
class Cell:
    """One container alone on a GPU, launching without a pause."""

    limit: int
    kernel: int
    multiprocessors: int
    grid: int
    processes: int


def everything() -> list[Cell]:
    """Return all cells."""
    return [Cell(*values) for values in itertools.product(LIMITS, KERNELS, MULTIPROCESSORS, GRIDS, PROCESSES)]


def _pairs(values: Sequence[int]) -> set[tuple[int, int, int, int]]:
    """Return the pairs in a row of values, each as (factor, value, factor, value)."""
    return {
        (first, values[first], second, values[second])
        for first, second in itertools.combinations(range(len(values)), 2)
    }


def covering(seed: int = 1) -> list[Cell]:
    """Return a few cells in which every two values of different factors meet at least once; `seed` varies them.

    Each limit meets each kernel once, combined with the other values that add the most new pairs. Cells for the pairs
    that are then still missing are added.
    """
    factors = (LIMITS, KERNELS, MULTIPROCESSORS, GRIDS, PROCESSES)
    missing = {pair for values in itertools.product(*factors) for pair in _pairs(values)}
    rest = list(itertools.product(MULTIPROCESSORS, GRIDS, PROCESSES))
    order = random.Random(seed)
    chosen: list[tuple[int, ...]] = []
    for limit, kernel in itertools.product(LIMITS, KERNELS):
        order.shuffle(rest)  # breaks ties
        best = max(rest, key=lambda values: len(_pairs((limit, kernel, *values)) & missing))
        chosen.append((limit, kernel, *best))
        missing -= _pairs(chosen[-1])
    while missing:
        chosen.append(max(itertools.product(*factors), key=lambda values: len(_pairs(values) & missing)))
        missing -= _pairs(chosen[-1])
    return [Cell(*values) for values in chosen]
