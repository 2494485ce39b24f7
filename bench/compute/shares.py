"""Shares of containers whose programs use several streams or threads, or wait often; alone and together.

Beside each share stands how much libvgpu charged for the GPU time that the container had. A late host can take a share
away from a container, but it hardly changes that ratio. Programs that wait for their launches leave the GPU idle
then, and those of short kernels may be slower than the GPU. So they are measured without libvgpu too: what they
can't use together without limits, they needn't get with them.
"""

import asyncio
import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compute import alone, criteria, matrix, scenarios, testbed
from bench.compute.cells import MS, US
from unigpu import usage

POINTS: Final = 1.0
WINDOW: Final = 3 * criteria.SECOND
SINGLE: Final = (50,)
PAIR: Final = (30, 70)
FOUR: Final = (10, 20, 30, 40)
STREAMS: Final = (1, 2, 4, 8, 64)
KERNELS: Final = (10 * US, 100 * US, 1 * MS)
SHORTEST: Final = 2 * US
THREADS: Final = 4
EVERY: Final = (1, 16)
SIDE_BY_SIDE: Final = 108
"""Blocks of a kernel of which eight fit on the GPU together."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Containers of one program each on one GPU; their programs launch as `words` say (see client.c)."""

    limits: tuple[int, ...]
    words: testbed.Words
    agent: bool = False
    """Whether the node agent's loop reports neighbours and sets rates."""


def _length(ns: int) -> str:
    return f"{ns // MS}ms" if ns >= MS else f"{ns // US}us"


def _name(setup: Setup) -> str:
    """Return a name to select the setup by, such as `share-50-8x10us-side`."""
    words = setup.words
    parts = ["share", *map(str, setup.limits), f"{words.get('streams', 1)}x{_length(int(words['kernel']))}"]
    parts += [f"{words['threads']}threads"] if "threads" in words else []
    parts += [f"sync{words['ahead']}"] if "ahead" in words else []
    parts += ["side"] if "grid" in words else []
    parts += ["agent"] if setup.agent else []
    return "-".join(parts)


def setups() -> dict[str, Setup]:
    """Return all setups by name."""
    many: list[testbed.Words] = [{"streams": streams, "kernel": ns} for streams in STREAMS for ns in KERNELS]
    few: list[testbed.Words] = [{"kernel": ns, "ahead": 16} for ns in (SHORTEST, 10 * US, 20 * US)]
    few += [{"kernel": SHORTEST}, {"kernel": 20 * US}, {"kernel": 20 * US, "ahead": 1}, {"kernel": 1 * MS, "ahead": 1}]
    for streams in (1, 8):
        words: testbed.Words = {"streams": streams, "kernel": 100 * US}
        few.append({**words, "threads": THREADS})
        few += [{**words, "ahead": every} for every in EVERY]
    side: list[testbed.Words] = [{"streams": 8, "kernel": ns, "grid": SIDE_BY_SIDE} for ns in KERNELS]
    found = [Setup(SINGLE, words) for words in [*many, *few, *side]]
    for agent in (False, True):
        waits: list[testbed.Words] = [{"kernel": 20 * US}, *({"kernel": 20 * US, "ahead": every} for every in EVERY)]
        found += [Setup(PAIR, words, agent) for words in waits]
        found += [Setup(PAIR, {"streams": streams, "kernel": 100 * US}, agent) for streams in (2, 8)]
        found += [Setup(FOUR, {"streams": streams, "kernel": 100 * US}, agent) for streams in (1, 2, 8)]
        found += [Setup(FOUR, {"streams": 8, "kernel": ns}, agent) for ns in (10 * US, 1 * MS)]
        found.append(Setup(PAIR, {"streams": 8, "kernel": 100 * US, "grid": SIDE_BY_SIDE}, agent))
    return {_name(setup): setup for setup in found}


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of each container, in the order of the limits."""

    shares: Sequence[float]
    """Percent of the GPU."""
    charged: Sequence[float]
    """GPU time charged over GPU time had."""
    late: int
    """Longest delay with which the host woke a sleeper, ns."""


def _charge(container: testbed.Container) -> int:
    """Return the GPU time that libvgpu charged, ns; 0 without libvgpu."""
    if container.limit is None:
        return 0
    return usage.compute((container.folder / "usage").read_bytes(), 0)[0]


async def measure(folder: Path, setup: Setup, window: int = WINDOW, *, limited: bool = True) -> Measured:
    """Run the setup on a new GPU for a window from when all of its programs launch; or its programs without libvgpu."""
    gpu = await testbed.make_gpu(folder, scenarios.PROFILE)
    async with contextlib.AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(testbed.container(gpu, folder / f"{place}", limit))
            for place, limit in enumerate(testbed.Limit(cores) if limited else None for cores in setup.limits)
        ]
        if setup.agent and limited:
            await stack.enter_async_context(testbed.lender([each.folder for each in held]))
        watch = await stack.enter_async_context(testbed.watch(gpu))
        words = {"seconds": window / criteria.SECOND + 0.4, "beat": alone.BEAT} | dict(setup.words)
        programs = [(await each.start("load", words))[0] for each in held]
        await asyncio.gather(*(program.ready() for program in programs))
        for program in programs:
            program.begin()
        reports = await asyncio.gather(*(program.report() for program in programs))
        first = max(report.first for report in reports)
        await watch.until(first + window)
        charges = [_charge(each) for each in held]
        last = watch.series.times[-1]
    return Measured(
        shares=[watch.series.share(each.group, first, first + window) for each in held],
        charged=[
            charge / max(watch.series.busy(each.group, last), 1) for each, charge in zip(held, charges, strict=True)
        ],
        late=max(report.late for report in reports),
    )


async def reach(folder: Path, setup: Setup, window: int = WINDOW) -> float:
    """Return the percent of the GPU that the setup's programs use together where nothing limits them."""
    at_once = int(setup.words.get("streams", 1)) if "grid" in setup.words else 1
    if "ahead" not in setup.words and int(setup.words["kernel"]) // at_once >= matrix.HASTY:
        return 100.0
    return min(100.0, sum((await measure(folder, setup, window, limited=False)).shares))


def judge(setup: Setup, found: Sequence[Measured], title: str, capable: float = 100.0) -> scenarios.Row:
    """Make a row of the medians of several measurements.

    `capable`: the percent of the GPU that the programs use together without limits. Where that is less than their
    limits, each can be short of its limit by its part of what is missing.
    """
    shares = [statistics.median(each.shares[place] for each in found) for place in range(len(setup.limits))]
    charged = [statistics.median(each.charged[place] for each in found) for place in range(len(setup.limits))]
    part = min(1.0, capable / sum(setup.limits))
    errors = [
        criteria.share(share, limit, 0, WINDOW, POINTS, limit * part).measured
        for share, limit in zip(shares, setup.limits, strict=True)
    ]
    worst = max(errors)
    had, ratios = "/".join(f"{share:.1f}" for share in shares), "/".join(f"{ratio:.2f}" for ratio in charged)
    note = f"had {had} %; charged {ratios} times that; host {max(each.late for each in found) / MS:.0f} ms late"
    note += f"; the programs reach {capable:.1f} %" if part < 1 else ""
    return scenarios.Row(title, criteria.Verdict(worst, POINTS), "points", note)


async def share(folder: Path, name: str, repeat: int = 1, window: int = WINDOW) -> list[scenarios.Row]:
    """Measure one setup so often, and judge the medians."""
    setup = setups()[name]
    found = [await measure(folder.with_name(f"{folder.name}-{turn}"), setup, window) for turn in range(repeat)]
    return [judge(setup, found, name, await reach(folder.with_name(f"{folder.name}-bare"), setup, window))]
