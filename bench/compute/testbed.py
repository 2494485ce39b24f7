"""A simulated GPU, containers on it, and the sampler of the GPU time that each container had."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from asyncio import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.compute.series import Series
from deviceplugin.lending.lending_loop import LendingLoop
from unigpu import names, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "build/bench/compute/client"
SAMPLER: Final = ROOT / "build/bench/compute/gpu_time_sampler"
LIBRARY: Final = ROOT / "build/lib/libvgpu.so"
SIMULATOR: Final = ROOT / "build/simulator"
PERIOD_US: Final = 5000
"""Microseconds between two samples."""
PATIENCE: Final = 60.0
"""Seconds after which a silent program counts as hung."""


Words = Mapping[str, int | float | str]
"""Arguments of a client; client.c documents the keys."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A machine with GPUs of one kind."""

    folder: Path
    uuids: tuple[GpuUuid, ...]


async def make_gpu(folder: Path, profile: str, gpus: int = 1) -> Gpu:
    """Create a simulated machine in `folder/machine`."""
    made = await subprocess.create_subprocess_exec(
        sys.executable,
        *("-m", "simulator", "create", "--dir", folder / "machine", "--profile", profile, "--gpus", str(gpus)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    text = (await made.communicate())[0].decode()
    if made.returncode != 0:
        raise RuntimeError(f"no machine with a {profile} could be made")
    return Gpu(folder / "machine", tuple(GpuUuid(found) for found in re.findall(r"GPU-[0-9a-f-]{36}", text)))


@dataclass(frozen=True, slots=True)
class Limit:
    """Limits of a container on each of its GPUs, percent."""

    cores: int
    ceiling: int = 0
    compute: ComputePolicy = ComputePolicy.HARD
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """Figures that a client prints at its end."""

    launches: int = 0
    first: int = 0
    """CLOCK_MONOTONIC of the first launch, ns; 0: none."""
    longest: int = 0
    """Longest call that launched, ns."""
    settled: int = 0
    """Longest of those after the first second, ns."""
    p50: int = 0
    """Median of all calls that launched, ns; then the 99th and 99.9th percentile."""
    p99: int = 0
    p999: int = 0
    late: int = 0
    """Longest delay with which the host woke a sleeper of the client, ns; 0: not measured."""
    requests: tuple[tuple[int, int, int], ...] = ()
    """Length of each request by the GPU's clock and by the host's, and of its longest launch, ns."""
    moments: tuple[tuple[str, int], ...] = ()
    """When each command to it took effect."""


@dataclass(slots=True)
class Program:
    """One client, started and waiting for the command to begin."""

    process: subprocess.Process
    processes: int = 1
    """Forks included."""

    async def ready(self) -> None:
        """Wait until all its processes can launch. Raises RuntimeError with its output if it ends before."""
        assert self.process.stdout is not None
        for _ in range(self.processes):
            line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
            if line != b"ready\n":
                raise RuntimeError(f"a client isn't ready, but says {line!r}")

    def say(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())

    def begin(self) -> None:
        """Let it launch."""
        for _ in range(self.processes):
            self.say("")

    async def report(self) -> Report:
        """Wait until it ends; return its figures. Raises RuntimeError if it failed."""
        assert self.process.stdout is not None
        text = await asyncio.wait_for(self.process.stdout.read(), PATIENCE)
        status = await self.process.wait()
        if status != 0:
            raise RuntimeError(f"a client ended with {status}")
        return read_report(text.decode())


def read_report(text: str) -> Report:
    """Parse a client's output after `ready`; for forks, launches add up and the worst of the other figures counts."""
    launches, requests, moments = [], [], []
    for line in text.splitlines():
        words = line.split()
        if words[0] == "launches":
            launches.append(dict(zip(words[::2], map(int, words[1::2]), strict=True)))
        elif words[0] == "request":
            requests.append((int(words[1]), int(words[2]), int(words[3])))
        elif words[0] == "moment":
            moments.append((words[1], int(words[2])))
    if not launches:
        return Report(requests=tuple(requests), moments=tuple(moments))
    worst = {key: max(found[key] for found in launches) for key in ("longest", "settled", "p50", "p99", "p999", "late")}
    return Report(
        launches=sum(found["launches"] for found in launches),
        first=min((found["first"] for found in launches if found["first"]), default=0),
        requests=tuple(requests),
        moments=tuple(moments),
        **worst,
    )


@dataclass(slots=True)
class Container:
    """Processes that share one policy and one account; one process group, by which the sampler tells them apart."""

    gpu: Gpu
    folder: Path
    limit: Limit | None
    """None: without libvgpu."""
    leader: subprocess.Process
    programs: list[Program] = field(default_factory=list)

    @property
    def group(self) -> int:
        return self.leader.pid

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a program in the container."""
        bare = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(SIMULATOR),
            names.ENV_SIM_DIR: str(self.gpu.folder),
        }
        if self.limit is None:
            return bare | dict(more)
        limited = {
            "LD_PRELOAD": str(LIBRARY),
            names.ENV_TRIAL_POLICY: str(self.folder / "policy"),
            names.ENV_TRIAL_USAGE: str(self.folder / "usage"),
        }
        return bare | limited | dict(more)

    async def start(
        self, mode: str, words: Words, processes: int = 1, *, environment: Mapping[str, str] | None = None
    ) -> list[Program]:
        """Start clients that report when they are ready."""
        started = []
        for _ in range(processes):
            process = await subprocess.create_subprocess_exec(
                CLIENT,
                mode,
                *(f"{key}={value}" for key, value in words.items()),
                env=self.environment(environment or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                limit=1 << 22,
                process_group=self.group,
            )
            started.append(Program(process, int(words.get("forks", 0)) or 1))
        self.programs += started
        return started


def write_policy(file: Path, gpu: Gpu, limit: Limit) -> None:
    """Write a policy file, or change it in place as the node agent does: the sequence is odd while it is written."""
    gpus = [
        policy.GpuLimit(uuid, Bytes(0), Percent(limit.cores), Percent(limit.ceiling or limit.cores))
        for uuid in gpu.uuids
    ]
    content = policy.pack(policy.Policy(gpus, False, True, limit.compute, limit.priority))
    if not file.exists():
        file.write_bytes(content)
        return
    with file.open("r+b", buffering=0) as opened:
        (sequence,) = policy.SEQUENCE.unpack_from(opened.read(), policy.SEQUENCE_OFFSET)
        after = policy.SEQUENCE_OFFSET + policy.SEQUENCE.size
        os.pwrite(opened.fileno(), policy.SEQUENCE.pack(sequence + 1), policy.SEQUENCE_OFFSET)
        os.pwrite(opened.fileno(), content[after:], after)
        os.pwrite(opened.fileno(), policy.SEQUENCE.pack(sequence + 2), policy.SEQUENCE_OFFSET)


async def gone(process: subprocess.Process) -> None:
    """Wait until a killed process and its pipes are closed, so that nothing is left to the garbage collector."""
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await process.stdin.wait_closed()
    if process.stdout is not None:
        await process.stdout.read()
    await process.wait()
    await asyncio.sleep(0)


def prepare(folder: Path, gpu: Gpu, limit: Limit | None) -> None:
    """Create the container's files."""
    folder.mkdir()
    if limit is not None:
        write_policy(folder / "policy", gpu, limit)
        (folder / "usage").write_bytes(bytes(usage.SIZE))


@contextlib.asynccontextmanager
async def container(gpu: Gpu, folder: Path, limit: Limit | None) -> AsyncIterator[Container]:
    """Run a container with its files in `folder`; kill its processes at the end."""
    prepare(folder, gpu, limit)
    leader = await subprocess.create_subprocess_exec("cat", stdin=subprocess.PIPE, process_group=0)
    made = Container(gpu, folder, limit, leader)
    try:
        yield made
    finally:
        os.killpg(made.group, signal.SIGKILL)
        await gone(leader)
        for program in made.programs:
            await gone(program.process)


@contextlib.asynccontextmanager
async def lender(folders: Sequence[Path]) -> AsyncIterator[None]:
    """Run the node agent's own lending loop over these containers' folders."""
    loop = LendingLoop()
    loop.observe(folders)
    lending = asyncio.create_task(loop.lend())
    try:
        yield
    finally:
        lending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lending


@dataclass(slots=True)
class Watch:
    """The running sampler of one GPU, and its samples so far."""

    process: subprocess.Process
    series: Series = field(default_factory=Series)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.series.add(line.decode())

    async def until(self, at: int) -> None:
        """Wait until the samples reach that time. Raises TimeoutError long after it."""
        while not self.series.times or self.series.times[-1] < at:
            if time.monotonic_ns() > at + PATIENCE * 1e9:
                raise TimeoutError("the sampler of GPU time has stopped")
            await asyncio.sleep(PERIOD_US / 1e6)

    async def had(self, group: int, busy: int, patience: float = PATIENCE) -> tuple[int, int]:
        """Wait until a group has had so much GPU time, ns; return when it began and ended, to a sample.

        Raises TimeoutError after `patience` seconds.
        """
        until = time.monotonic() + patience
        while not self.series.groups or self.series.groups[-1].get(group, 0) < busy:
            if time.monotonic() > until:
                raise TimeoutError(f"group {group} hasn't had {busy} ns of the GPU: {self.series.groups[-1:]}")
            await asyncio.sleep(PERIOD_US / 1e6)
        began = next(place for place, sample in enumerate(self.series.groups) if sample.get(group, 0) > 0)
        return self.series.times[max(began - 1, 0)], self.series.times[-1]


@contextlib.asynccontextmanager
async def watch(gpu: Gpu, index: int = 0) -> AsyncIterator[Watch]:
    """Sample the GPU time of one of the machine's GPUs while the context is open."""
    process = await subprocess.create_subprocess_exec(
        SAMPLER, gpu.folder, str(index), str(PERIOD_US), stdout=subprocess.PIPE, limit=1 << 20
    )
    made = Watch(process)
    reading = asyncio.create_task(made.read())
    try:
        yield made
    finally:
        process.kill()
        await reading
        await gone(process)
