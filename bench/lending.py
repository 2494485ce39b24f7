"""Cost of the node agent's lending loop: CPU time of one round, and percent of a core at its pace.

    python bench/lending.py [--containers N] [--gpus N]

Containers' folders as the node agent and libvgpu make them, and rounds of the loop in this process; between two
rounds the accounts are charged as programs would.
"""

import argparse
import os
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deviceplugin.lending import lending_loop
from unigpu import grants, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent

ROUNDS = 400


class Node:
    """Containers, spread over GPUs."""

    def __init__(self, root: Path, containers: int, gpus: int, compute: ComputePolicy) -> None:
        self.folders: list[Path] = []
        self._usages: list[int] = []
        for number in range(containers):
            folder = root / f"{number:04d}" / "main"
            folder.mkdir(parents=True)
            share = Percent(max(1, 100 * gpus // containers))
            gpu = GpuUuid(f"GPU-{number % gpus:08d}-0000-4000-8000-000000000000")
            limit = policy.GpuLimit(gpu, Bytes(1 << 30), share, Percent(100))
            (folder / grants.POLICY_FILE).write_bytes(policy.pack(policy.Policy((limit,), True, True, compute)))
            descriptor = os.open(folder / grants.USAGE_FILE, os.O_RDWR | os.O_CREAT, 0o666)
            os.truncate(descriptor, usage.SIZE)
            os.pwrite(descriptor, struct.pack("<II", usage.MAGIC, usage.VERSION), 0)
            self.folders.append(folder)
            self._usages.append(descriptor)

    def charge(self, turn: int) -> None:
        """Charge each container a little more or less than before; every third waits."""
        for number, descriptor in enumerate(self._usages):
            total = turn * 3_000_000 + (turn * (number + 7) % 11) * 200_000
            os.pwrite(descriptor, struct.pack("<Q", total), usage.COMPUTE_OFFSET + 16)
            os.pwrite(descriptor, struct.pack("<II", 1 if number % 3 == turn % 3 else 0, 0), usage.COMPUTE_OFFSET + 64)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._usages:
            os.close(descriptor)


def measure(containers: int, gpus: int, compute: ComputePolicy, *, busy: bool) -> tuple[float, float, float]:
    """Return microseconds of CPU time per round, median and minimum, and rounds per second."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        node = Node(Path(root), containers, gpus, compute)
        folders = frozenset(node.folders)
        # The clock advances by the loop's pace, so that what it does once a second is in the figures.
        clock = 0
        rounds = lending_loop.LendingRound(lambda: clock)
        spent, pace = [], 0.05
        try:
            for turn in range(ROUNDS + 100):
                if busy:
                    node.charge(turn)
                clock += int((pace or 1.0) * 1e9)
                began = time.thread_time()
                pace = rounds.run(folders) or 0.0
                if turn >= 100:
                    spent.append(time.thread_time() - began)
        finally:
            rounds.close()
            node.close()
        cost = statistics.median(spent)
        # Like the loop itself, which runs less often where a round costs more.
        pace = lending_loop.pause(pace, cost) if pace else 0.0
        return cost * 1e6, min(spent) * 1e6, 1 / pace if pace else 0.0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Measure the cost of the node agent's lending loop.")
    parser.add_argument("--containers", type=int, default=128)
    parser.add_argument("--gpus", type=int, default=8)
    given = parser.parse_args()
    print(f"{given.containers} containers on {given.gpus} GPUs; goal: below 2 % of a core")
    print(f"{'containers are':<24}{'us a round':>12}{'min':>8}{'rounds a second':>16}{'% of a core':>14}")
    for compute in (ComputePolicy.SOFT, ComputePolicy.HARD):
        for busy in (True, False):
            micros, least, rate = measure(given.containers, given.gpus, compute, busy=busy)
            what = f"{compute}, {'all working' if busy else 'all at rest'}"
            print(f"{what:<24}{micros:>12.0f}{least:>8.0f}{rate:>16.1f}{micros * rate / 1e4:>14.2f}", flush=True)


if __name__ == "__main__":
    main()
