"""A container gets its share of a GPU and not more, by the GPU's own record of its time.

Each test runs until its programs have had some GPU time. On a busy machine programs submit late and have less of the
GPU, so the lower side is wide; the upper side isn't: nothing that slows a program down may give it more.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.compute import testbed
from unigpu import usage
from unigpu.requests import ComputePolicy

MS = 1_000_000
ABOVE = 5
"""Percent of the GPU."""
SAVED = 60 * MS
"""GPU time that a container may have saved before the measurement, or begun in debt in it, ns."""
GPU_TIME = 400 * MS
"""Enough that the first launches, whose cost isn't known yet, no longer count for much."""
ENDLESS = 3600

PATTERNS: dict[str, tuple[int, testbed.Words]] = {
    "one process": (1, {"kernel": 1 * MS}),
    "four processes": (4, {"kernel": MS // 10}),
    "long kernels": (1, {"kernel": 20 * MS}),
    "graphs": (1, {"call": "graph", "nodes": 200, "kernel": MS // 20}),
    "cooperative": (1, {"call": "cooperative", "grid": 108, "kernel": 1 * MS}),
    "cuLaunchKernelEx": (1, {"call": "ex", "kernel": 1 * MS}),
    "per-thread streams": (1, {"call": "per-thread", "threads": 4, "kernel": MS // 2}),
    "eight streams": (1, {"streams": 8, "kernel": MS // 2}),
    "64 streams": (1, {"streams": 64, "kernel": MS // 10}),
    "64 streams, short kernels": (1, {"streams": 64, "kernel": MS // 100}),
    "four threads of two streams": (1, {"threads": 4, "streams": 2, "kernel": MS // 10}),
    "kernels side by side": (1, {"streams": 8, "grid": 108, "kernel": MS // 10}),
    "longer kernels side by side": (1, {"streams": 8, "grid": 108, "kernel": 1 * MS}),
    "a wait after each launch": (1, {"ahead": 1, "kernel": 1 * MS}),
}


async def begin(programs: Sequence[testbed.Program]) -> None:
    await asyncio.gather(*(program.ready() for program in programs))
    for program in programs:
        program.begin()


async def assert_holds(watch: testbed.Watch, held: testbed.Container, limit: int, gpu_time: int = GPU_TIME) -> None:
    """From its first launch on, until the container has had so much GPU time.

    From the first launch, because the books of a busy host are behind: what they show at the end was had, but what they
    don't show at the start may have been had too.
    """
    first, last = await watch.had(held.group, gpu_time)
    share = watch.series.share(held.group, first, last)
    had = watch.series.busy(held.group, last)
    assert had <= (limit + ABOVE) / 100 * (last - first) + SAVED, f"{share:.1f} % of the GPU"
    assert share >= limit / 3


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_share_is_held_on_an_idle_gpu(gpu: testbed.Gpu, tmp_path: Path, pattern: str) -> None:
    processes, words = PATTERNS[pattern]
    async with testbed.container(gpu, tmp_path / "a", testbed.Limit(30)) as held, testbed.watch(gpu) as watch:
        await begin(await held.start("load", {"seconds": ENDLESS} | dict(words), processes))
        await assert_holds(watch, held, 30)


async def test_each_of_two_containers_has_its_own(gpu: testbed.Gpu, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        small, large = [
            await stack.enter_async_context(testbed.container(gpu, tmp_path / str(limit), testbed.Limit(limit)))
            for limit in (20, 60)
        ]
        watch = await stack.enter_async_context(testbed.watch(gpu))
        programs = [(await each.start("load", {"kernel": 1 * MS, "seconds": ENDLESS}))[0] for each in (small, large)]
        await begin(programs)
        await assert_holds(watch, small, 20)
        await assert_holds(watch, large, 60)


async def test_forks_share_what_their_container_has(gpu: testbed.Gpu, tmp_path: Path) -> None:
    async with testbed.container(gpu, tmp_path / "a", testbed.Limit(30)) as held, testbed.watch(gpu) as watch:
        await begin(await held.start("load", {"kernel": 1 * MS, "forks": 8, "seconds": ENDLESS}))
        await assert_holds(watch, held, 30)


async def test_a_killed_process_takes_no_share_with_it(gpu: testbed.Gpu, tmp_path: Path) -> None:
    words = {"kernel": 1 * MS, "seconds": ENDLESS}
    async with testbed.container(gpu, tmp_path / "a", testbed.Limit(30)) as held, testbed.watch(gpu) as watch:
        living = await held.start("load", words, 4)
        await begin(living)
        await watch.had(held.group, 50 * MS)
        for victim in living[1:]:
            victim.process.kill()
            await begin(await held.start("load", words))
            await watch.had(held.group, watch.series.groups[-1][held.group] + 20 * MS)
        await assert_holds(watch, held, 30)


async def test_a_change_holds_for_a_program_that_runs(gpu: testbed.Gpu, tmp_path: Path) -> None:
    async with testbed.container(gpu, tmp_path / "a", testbed.Limit(80)) as held, testbed.watch(gpu) as watch:
        await begin(await held.start("load", {"kernel": 1 * MS, "seconds": ENDLESS}))
        _, changed = await watch.had(held.group, 100 * MS)
        testbed.write_policy(held.folder / "policy", gpu, testbed.Limit(10))
        before = watch.series.busy(held.group, changed)
        _, last = await watch.had(held.group, int(before) + 300 * MS)
        assert watch.series.share(held.group, changed, last) <= 40, "as if nothing had changed"
        testbed.write_policy(held.folder / "policy", gpu, testbed.Limit(80))
        before = watch.series.busy(held.group, last)
        _, end = await watch.had(held.group, int(before) + 600 * MS)
        assert watch.series.share(held.group, last, end) >= 15, "as if nothing had changed back"


async def test_an_unlimited_container_never_waits(gpu: testbed.Gpu, tmp_path: Path) -> None:
    limit = testbed.Limit(30, 100, ComputePolicy.UNLIMITED)
    async with testbed.container(gpu, tmp_path / "a", limit) as held, testbed.watch(gpu) as watch:
        await begin(await held.start("load", {"kernel": 1 * MS, "seconds": ENDLESS}))
        await watch.had(held.group, GPU_TIME)
        _, waited, waits, waiting = usage.compute((held.folder / "usage").read_bytes().ljust(usage.SIZE, b"\0"), 0)
        assert (waited, waits, waiting) == (0, 0, False)
