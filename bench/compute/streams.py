"""The share of a container at 50 % whose program launches on several streams, from several threads, or waits often."""

from pathlib import Path
from typing import Final

from bench.compute import alone, criteria, scenarios, testbed
from bench.compute.cells import MS, US

LIMIT: Final = 50
POINTS: Final = 2.0
WINDOW: Final = 3_000_000_000
STREAMS: Final = (1, 2, 4, 8, 64)
KERNELS: Final = (10 * US, 100 * US, 1 * MS)
THREADS: Final = 4
EVERY: Final = (1, 16)
SIDE_BY_SIDE: Final = 108
"""Blocks of a kernel of which eight fit on the GPU together."""


def rows() -> dict[str, testbed.Words]:
    """The rows by their titles, with the words for client.c."""
    found: dict[str, testbed.Words] = {}
    for streams in STREAMS:
        for kernel in KERNELS:
            found[f"{streams} streams, {kernel // US} µs"] = {"streams": streams, "kernel": kernel}
    for streams in (1, 8):
        words: testbed.Words = {"streams": streams, "kernel": 100 * US}
        found[f"{THREADS} threads of {streams} streams, 100 µs"] = {**words, "threads": THREADS}
        for every in EVERY:
            found[f"{streams} streams, 100 µs, a wait after every {every}"] = {**words, "ahead": every}
    for kernel in KERNELS:
        found[f"8 streams, {kernel // US} µs side by side"] = {"streams": 8, "kernel": kernel, "grid": SIDE_BY_SIDE}
    return found


async def share(folder: Path, title: str) -> list[scenarios.Row]:
    """Measure one row."""
    words = rows()[title]
    found = await alone.measure(folder, scenarios.PROFILE, testbed.Limit(LIMIT), words, window=WINDOW)
    verdict = criteria.Verdict(abs(found.share - LIMIT), POINTS)
    note = f"{found.share:.2f} %, host {found.late / MS:.0f} ms late"
    return [scenarios.Row(f"{title}, at {LIMIT} %", verdict, "points", note)]
