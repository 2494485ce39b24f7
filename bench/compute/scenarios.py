"""The scenarios other than the matrix: neighbours, families of launches, short requests, crowds."""

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compute import alone, criteria, testbed
from bench.compute.cells import MS, US
from bench.compute.series import Series
from unigpu import usage
from unigpu.requests import ComputePolicy

PROFILE: Final = "a100-40"
FAMILIES: Final[dict[str, testbed.Words]] = {
    "graph of 1,000 nodes of 20 µs": {"call": "graph", "nodes": 1000, "kernel": 20 * US},
    "cooperative launches of 1 ms": {"call": "cooperative", "kernel": 1 * MS, "grid": 108},
    "cuLaunchKernelEx, 1 ms": {"call": "ex", "kernel": 1 * MS},
    "per-thread streams, 4 threads, 1 ms": {"call": "per-thread", "threads": 4, "kernel": 1 * MS},
    "8 streams, 100 µs": {"streams": 8, "kernel": 100 * US},
    "a wait after each launch, 1 ms": {"ahead": 1, "kernel": 1 * MS},
}
FAMILY_POINTS: Final = 3.0
NEIGHBOUR_POINTS: Final = 1.0
CROWD_POINTS: Final = 2.0
UNLIMITED_POINTS: Final = 1.0
UNLIMITED_TURNS: Final = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    title: str
    verdict: criteria.Verdict
    unit: str
    note: str = ""


async def family(folder: Path, name: str) -> list[Row]:
    """Measure one way of launching, alone at 30 %."""
    words = FAMILIES[name]
    found = await alone.measure(folder, PROFILE, testbed.Limit(30), words)
    nodes = int(str(words.get("nodes", 1)))
    unit = int(str(words["kernel"])) * nodes
    threads = int(str(words.get("threads", 1)))
    return [
        Row(
            f"{name}, at 30 %",
            criteria.Verdict(abs(found.share - 30), FAMILY_POINTS),
            "points",
            f"{found.share:.2f} % over 5 s, {found.start:.2f} % in the first",
        ),
        _wait_row(name, found.longest, criteria.longest_wait(found.longest, unit, 30, threads, found.late)),
    ]


async def unlimited(folder: Path) -> list[Row]:
    """Compare the share of a program without a limit with the same without libvgpu, in turn; medians."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(UNLIMITED_TURNS):
        for managed, shares in found.items():
            limit = testbed.Limit(0, compute=ComputePolicy.UNLIMITED) if managed else None
            name = folder.with_name(f"{folder.name}-{turn}-{managed}")
            shares.append((await alone.measure(name, PROFILE, limit, {"kernel": 5 * US}, window=criteria.START)).share)
    bare, managed_share = (statistics.median(shares) for shares in found.values())
    spread = max(found[False]) - min(found[False])
    return [
        Row(
            "no limit, 5 µs: share lost compared with no libvgpu",
            criteria.Verdict(max(bare - managed_share, 0.0), UNLIMITED_POINTS, spread),
            "points",
            f"{managed_share:.2f} %; without {bare:.2f} %, which itself varies by {spread:.2f}",
        )
    ]


def _wait_row(name: str, longest: int, verdict: criteria.Verdict) -> Row:
    return Row(f"{name}: longest wait", criteria.Verdict(longest / MS, verdict.allowed / MS, verdict.doubt / MS), "ms")


@dataclass(frozen=True, slots=True)
class Shared:
    """Results of containers on one GPU."""

    shares: Sequence[float]
    busy: float
    """Percent of the time in which the GPU was busy."""
    longest: Sequence[int]
    late: int
    first: int
    groups: Sequence[int]
    series: Series


async def together(folder: Path, limits: Sequence[int], words: testbed.Words) -> Shared:
    """Run containers of one saturating program each on one GPU; measure from when all of them launch."""
    gpu = await testbed.make_gpu(folder, PROFILE)
    async with contextlib.AsyncExitStack() as stack:
        containers = [
            await stack.enter_async_context(
                testbed.container(gpu, folder / f"of-{limit}-{place}", testbed.Limit(limit))
            )
            for place, limit in enumerate(limits)
        ]
        await stack.enter_async_context(testbed.lender([each.folder for each in containers]))
        watch = await stack.enter_async_context(testbed.watch(gpu))
        programs = [
            (await each.start("load", {"seconds": 5.4, "beat": alone.BEAT} | dict(words)))[0] for each in containers
        ]
        await asyncio.gather(*(program.ready() for program in programs))
        for program in programs:
            program.begin()
        reports = await asyncio.gather(*(program.report() for program in programs))
        first = max(report.first for report in reports)
        await watch.until(first + criteria.WINDOW)
    return Shared(
        shares=[watch.series.share(each.group, first, first + criteria.WINDOW) for each in containers],
        busy=watch.series.share_gpu(first, first + criteria.WINDOW),
        longest=[report.longest for report in reports],
        late=max(report.late for report in reports),
        first=first,
        groups=[each.group for each in containers],
        series=watch.series,
    )


async def neighbours(folder: Path, limits: Sequence[int], kernel: int) -> list[Row]:
    """Measure saturating containers whose shares fill the GPU; repeat if the host was late."""
    for number in range(criteria.TRIES):
        found = await together(folder.with_name(f"{folder.name}-{number}"), limits, {"kernel": kernel})
        rows = _of_neighbours(found, limits, kernel)
        if all(row.verdict.held for row in rows) or found.late <= criteria.LATE:
            break
    return rows


def _of_neighbours(found: Shared, limits: Sequence[int], kernel: int) -> list[Row]:
    name = f"{'/'.join(map(str, limits))} %, kernels of {kernel // US:,} µs"
    had = " / ".join(f"{share:.2f}" for share in found.shares)
    worst = max(abs(share - limit) for share, limit in zip(found.shares, limits, strict=True))
    waits = [
        criteria.longest_wait(wait, kernel, limit, 1, found.late)
        for wait, limit in zip(found.longest, limits, strict=True)
    ]
    longest = max(waits, key=lambda verdict: verdict.measured / verdict.allowed)
    return [
        Row(
            name,
            criteria.Verdict(worst, max(NEIGHBOUR_POINTS, 100 * kernel / criteria.WINDOW)),
            "points",
            f"had {had} %; the GPU was idle for {100 - found.busy:.1f} %; host late by {found.late / MS:.0f} ms",
        ),
        _wait_row(name, int(longest.measured), longest),
    ]


# Short requests: ten kernels of 50 µs every 20 ms.
REQUEST: Final[testbed.Words] = {"kernels": 10, "kernel": 50 * US, "period": 20 * MS, "requests": 500}
CHOPPED: Final = 2 * MS
"""Wait of a launch from which its request counts as chopped, ns; the whole request needs 0.5 ms of the GPU."""
NEIGHBOUR_KERNEL: Final = 1 * MS
FAIR_QUEUE: Final = 2 * MS
"""Time that the GPU's own scheduling costs a request: one time slice of the neighbour, ns."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Lengths of requests by the GPU's clock, ns, since a busy host sees their ends late."""

    p50: float
    p99: float
    host_p99: float
    """By the host's clock."""
    chopped: int


async def requests(folder: Path, limit: testbed.Limit | None, neighbour: testbed.Limit | None) -> Requests:
    """Measure requests of a container, alone on the GPU or next to a saturating one."""
    gpu = await testbed.make_gpu(folder, PROFILE)
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(testbed.container(gpu, folder / "served", limit))
        asking = (await served.start("requests", REQUEST))[0]
        await asking.ready()
        if neighbour is not None:
            other = await stack.enter_async_context(testbed.container(gpu, folder / "other", neighbour))
            await stack.enter_async_context(testbed.lender([served.folder, other.folder]))
            loading = (await other.start("load", {"kernel": NEIGHBOUR_KERNEL, "seconds": 60}))[0]
            await loading.ready()
            loading.begin()
            await asyncio.sleep(1)
        asking.begin()
        report = await asking.report()
    lengths, host, launches = zip(*report.requests, strict=True)
    return Requests(
        p50=criteria.percentile(lengths, 0.5),
        p99=criteria.percentile(lengths, 0.99),
        host_p99=criteria.percentile(host, 0.99),
        chopped=min(sum(launch > CHOPPED for launch in launches), held_back(served)),
    )


def held_back(container: testbed.Container) -> int:
    """Return how many launches waited for their share, by the container's account; the host delayed the others."""
    if container.limit is None:
        return 0
    _, _, waits, _ = usage.compute((container.folder / "usage").read_bytes(), 0)
    return waits


async def short_requests(folder: Path) -> list[Row]:
    """Compare requests at 30 % next to a saturating 70 % with the same requests alone on the GPU."""
    alone_there = await requests(folder / "alone", None, None)
    shared = await requests(folder / "shared", testbed.Limit(30), testbed.Limit(70))
    fair = alone_there.p99 + FAIR_QUEUE
    return [
        Row(
            "short requests at 30 % next to 70 %: p99",
            criteria.Verdict(shared.p99 / MS, 1.2 * fair / MS),
            "ms",
            f"alone {alone_there.p99 / MS:.2f} ms, fair queue {FAIR_QUEUE / MS:.2f} ms; p50 {shared.p50 / MS:.2f} ms; "
            f"seen by the host {shared.host_p99 / MS:.2f} ms, alone {alone_there.host_p99 / MS:.2f} ms",
        ),
        Row("short requests: chopped, of 500", criteria.Verdict(shared.chopped, 0), "requests"),
    ]


async def crowd(folder: Path) -> list[Row]:
    """Start 300 processes at once in one container, on GPUs with room for as many contexts."""
    gpus, processes = 4, 300
    gpu = await testbed.make_gpu(folder, "h100", gpus)
    async with contextlib.AsyncExitStack() as stack:
        held = await stack.enter_async_context(testbed.container(gpu, folder / "container", testbed.Limit(30)))
        watches = [await stack.enter_async_context(testbed.watch(gpu, index)) for index in range(gpus)]
        began = time.monotonic_ns()
        for index in range(gpus):
            await held.start(
                "load",
                {"forks": processes // gpus, "kernel": 1 * MS, "ahead": 4, "seconds": 8},
                environment={"CUDA_VISIBLE_DEVICES": str(index)},
            )
        await asyncio.gather(*(program.ready() for program in held.programs))
        started = time.monotonic_ns()
        for program in held.programs:
            program.begin()
        reports = await asyncio.gather(*(program.report() for program in held.programs))
        firsts = [report.first for report in reports]
        for watch, first in zip(watches, firsts, strict=True):
            await watch.until(first + criteria.WINDOW)
    shares = [
        watch.series.share(held.group, first, first + criteria.WINDOW)
        for watch, first in zip(watches, firsts, strict=True)
    ]
    worst = max(abs(share - 30) for share in shares)
    had = " / ".join(f"{share:.2f}" for share in shares)
    return [
        Row(
            "300 processes at once, four GPUs at 30 %",
            criteria.Verdict(worst, CROWD_POINTS),
            "points",
            f"had {had} %; all ready after {(started - began) / criteria.SECOND:.2f} s",
        )
    ]


async def killed(folder: Path) -> list[Row]:
    """Run eight processes in one container; every 100 ms, kill one and start another."""
    gpu = await testbed.make_gpu(folder, PROFILE)
    words: testbed.Words = {"kernel": 1 * MS, "seconds": 60}
    chance = random.Random(1)
    async with (
        testbed.container(gpu, folder / "container", testbed.Limit(30)) as held,
        testbed.watch(gpu) as watch,
    ):
        living = await held.start("load", words, 8)
        await asyncio.gather(*(program.ready() for program in living))
        first = time.monotonic_ns()
        for program in living:
            program.begin()
        kills = 0
        while time.monotonic_ns() < first + criteria.WINDOW:
            await asyncio.sleep(0.1)
            victim = living.pop(chance.randrange(len(living)))
            victim.process.kill()
            kills += 1
            new = (await held.start("load", words))[0]
            await new.ready()
            new.begin()
            living.append(new)
        await watch.until(first + criteria.WINDOW)
        share = watch.series.share(held.group, first, first + criteria.WINDOW)
    return [
        Row(
            "8 processes at 30 %, one killed and replaced every 100 ms",
            criteria.Verdict(abs(share - 30), CROWD_POINTS),
            "points",
            f"had {share:.2f} %; {kills} killed",
        )
    ]


async def forked(folder: Path) -> list[Row]:
    """Measure the forked children of one program."""
    found = await alone.measure(folder, PROFILE, testbed.Limit(30), {"kernel": 1 * MS, "forks": 16})
    return [
        Row(
            "16 forks of one program, at 30 %",
            criteria.Verdict(abs(found.share - 30), CROWD_POINTS),
            "points",
            f"had {found.share:.2f} %, {found.start:.2f} % in the first second",
        )
    ]
