"""Overhead of libvgpu on a launch, and whether launches of several processes slow each other down.

The clients run on a driver that does nothing, each pinned to its own CPU, with and without libvgpu in turn; the figures
are medians of seven. They are CPU time, so that other work on the machine matters little.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unigpu import names, policy
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "build/bench/launch/launch"
STUB = ROOT / "build/bench/launch"
UUID = GpuUuid("GPU-00000000-0000-0000-0000-000000000001")
"""UUID of the GPU in stub.c."""
SECONDS = "0.4"
TURNS = 7
GOAL_NS = 10.0
GOAL_LINEAR = 95.0


APART = "at 90 %, apart"
"""Each process with its own account: the same instructions, but no shared data. Any slowdown compared with a single
process is due to the CPUs, which may be hyper-threads of one core or busy with another virtual machine."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run the client, with one environment per process."""

    environments: Sequence[Mapping[str, str]]

    def measure(self, processors: Sequence[int]) -> float:
        """Return the CPU time of a launch, ns: the median over processes pinned to these CPUs."""
        started = [
            subprocess.Popen(
                ["taskset", "-c", str(processor), CLIENT, SECONDS], env=environment, stdout=subprocess.PIPE, text=True
            )
            for processor, environment in zip(processors, self.environments, strict=False)
        ]
        return statistics.median(float(process.communicate()[0]) for process in started)


def find_ways(folder: Path, most: int) -> dict[str, Way]:
    """Return the ways to run the client, by name, for up to `most` processes."""
    bare = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(STUB)}
    preloaded = bare | {"LD_PRELOAD": str(ROOT / "build/lib/libvgpu.so")}

    def container(name: str, cores: int, compute: ComputePolicy) -> dict[str, str]:
        gpu = policy.GpuLimit(UUID, Bytes(0), Percent(cores), Percent(cores))
        written, used = folder / f"policy-{name}", folder / f"usage-{name}"
        written.write_bytes(policy.pack(policy.Policy([gpu], False, cores > 0, compute)))
        used.touch()
        return preloaded | {names.ENV_TRIAL_POLICY: str(written), names.ENV_TRIAL_USAGE: str(used)}

    return {
        "bare": Way([bare] * most),
        "unlimited": Way([container("unlimited", 0, ComputePolicy.UNLIMITED)] * most),
        "at 90 %": Way([container("limited", 90, ComputePolicy.HARD)] * most),
        APART: Way([container(f"apart-{place}", 90, ComputePolicy.HARD) for place in range(most)]),
    }


def main() -> int:
    """Print the table; with --strict, return 1 if a goal is missed."""
    processors = sorted(os.sched_getaffinity(0))[:4]
    many = len(processors)
    with tempfile.TemporaryDirectory() as folder:
        ways = find_ways(Path(folder), many)
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        # One process and all of them in turn, so that whatever the machine does at the time is in both.
        turns = [
            {(count, name): way.measure(processors[:count]) for name, way in ways.items() for count in (1, many)}
            for _ in range(TURNS)
        ]
        of = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        linear = {name: statistics.median(100 * turn[1, name] / turn[many, name] for turn in turns) for name in ways}
        apart = statistics.median(100 * turn[many, APART] / turn[many, "at 90 %"] for turn in turns)
    print(f"{'launch':24} {'bare':>8} {'unlimited':>10} {'added':>8} {'at 90 %':>8} {'added':>8} {'goal':>8}   ns")
    missed = 0
    for count in (1, many):
        plain, unlimited, limited = of[count, "bare"], of[count, "unlimited"], of[count, "at 90 %"]
        missed += limited - plain > GOAL_NS
        print(
            f"{f'processes: {count}':22} {plain:10.1f} {unlimited:10.1f} {unlimited - plain:8.1f}"
            f" {limited:8.1f} {limited - plain:8.1f} {GOAL_NS:8.1f}"
        )
    for name in ways:
        print(f"1 → {many} processes, {name:16} {linear[name]:6.1f} % linear")
    print(f"at 90 %, compared with as many processes that share nothing: {apart:.1f} % (goal {GOAL_LINEAR:.0f} %)")
    missed += max(linear["at 90 %"], apart) < GOAL_LINEAR
    return 1 if missed and "--strict" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
