"""Rows 1 and 2 of compute: what libvgpu adds to a launch, and whether launches of several processes slow each other.

One client on one driver that does nothing, pinned to a processor each, with and without libvgpu in turn; medians of
five. The figures are the processor's time, so that others at work on the machine count little.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from unigpu import names, policy
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "build/bench/launch/launch"
STUB = ROOT / "build/bench/launch"
UUID = GpuUuid("GPU-00000000-0000-0000-0000-000000000001")
"""As stub.c answers it."""
SECONDS = "0.4"
TURNS = 5
GOAL_NS = 10.0
GOAL_LINEAR = 95.0


def measure(environment: Mapping[str, str], processors: list[int]) -> float:
    """Processor's time of a launch, ns: the median over processes pinned to these processors."""
    started = [
        subprocess.Popen(
            ["taskset", "-c", str(processor), CLIENT, SECONDS], env=environment, stdout=subprocess.PIPE, text=True
        )
        for processor in processors
    ]
    return statistics.median(float(process.communicate()[0]) for process in started)


def environments(folder: Path) -> dict[str, dict[str, str]]:
    """The ways of running the client, by name."""
    bare = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(STUB)}
    preloaded = bare | {"LD_PRELOAD": str(ROOT / "build/lib/libvgpu.so")}
    found = {"bare": bare}
    for name, cores, compute in (("unlimited", 0, ComputePolicy.UNLIMITED), ("at 90 %", 90, ComputePolicy.HARD)):
        card = policy.CardLimit(UUID, Bytes(0), Percent(cores), Percent(cores))
        file = folder / f"policy-{cores}"
        file.write_bytes(policy.pack(policy.Policy([card], False, cores > 0, compute)))
        (folder / f"usage-{cores}").touch()
        found[name] = preloaded | {
            names.ENV_TRIAL_POLICY: str(file),
            names.ENV_TRIAL_USAGE: str(folder / f"usage-{cores}"),
        }
    return found


def main() -> int:
    """Prints the table; with --strict, 1 where a goal is missed."""
    processors = sorted(os.sched_getaffinity(0))[:4]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        ways = environments(Path(folder))
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        print(f"{'launch':24} {'bare':>8} {'unlimited':>10} {'added':>8} {'at 90 %':>8} {'added':>8} {'goal':>8}   ns")
        of: dict[tuple[int, str], float] = {}
        for count in (1, len(processors)):
            turns = [[measure(way, processors[:count]) for way in ways.values()] for _ in range(TURNS)]
            medians = [statistics.median(column) for column in zip(*turns, strict=True)]
            of |= {(count, name): median for name, median in zip(ways, medians, strict=True)}
            plain, unlimited, limited = medians
            missed += limited - plain > GOAL_NS
            print(
                f"{f'processes: {count}':22} {plain:10.1f} {unlimited:10.1f} {unlimited - plain:8.1f}"
                f" {limited:8.1f} {limited - plain:8.1f} {GOAL_NS:8.1f}"
            )
        for name in ways:
            linear = 100 * of[1, name] / of[len(processors), name]
            # Processors that others slow down aren't linear either.
            beside = linear * of[len(processors), "bare"] / of[1, "bare"]
            missed += name == "at 90 %" and max(linear, beside) < GOAL_LINEAR
            print(
                f"1 → {len(processors)} processes, {name:12} {linear:6.1f} % linear, {beside:6.1f} % of the bare driver"
                f" (goal {GOAL_LINEAR:.0f} %)"
            )
    return 1 if missed and "--strict" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
