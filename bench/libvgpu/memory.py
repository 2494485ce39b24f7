"""Overhead of libvgpu on memory: allocating, freeing, starting and looking up, compared with the bare driver.

One client program on one simulated driver, with and without libvgpu in turn; medians of five.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "build/bench/memory"
RACE = ROOT / "build/bench/race"
TURNS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: arguments of the client, number of processes at once, and goal for the overhead, ns."""

    title: str
    words: tuple[str, ...]
    processes: int
    goal: float


ROWS = (
    Row("free with 50,000 live allocations", ("free", "50000"), 1, 100),
    Row("allocate + free, 4 processes", ("pair", "0.3"), 4, 130),
    Row("allocate + free, 1 process", ("pair", "0.3"), 1, 130),
    Row("cuInit, 128 processes at once", ("init",), 128, 500_000),
    Row("symbol look-up", ("look-up",), 1, 100),
)


def measure(row: Row, environment: Mapping[str, str]) -> float:
    """Return the median over the processes, ns."""
    started = [
        subprocess.Popen([CLIENT, *row.words], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(row.processes)
    ]
    figures = [float(process.communicate()[0]) for process in started]
    return statistics.median(figures)


def main() -> int:
    """Print the table; return 1 if a goal is missed."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        bare = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(ROOT / "build/simulator"),
            "UNIGPU_SIM_DIR": f"{folder}/machine",
        }
        limited = bare | {
            "LD_PRELOAD": str(ROOT / "build/lib/libvgpu.so"),
            "CUDA_DEVICE_MEMORY_LIMIT": "30g",
            "CUDA_DEVICE_MEMORY_SHARED_CACHE": f"{folder}/usage",
        }
        print(f"{'':36} {'bare':>10} {'libvgpu':>10} {'added':>10} {'goal':>10}   ns")
        for row in ROWS:
            turns = [(measure(row, bare), measure(row, limited)) for _ in range(TURNS)]
            plain, ours = (statistics.median(column) for column in zip(*turns, strict=True))
            missed += ours - plain > row.goal
            print(f"{row.title:36} {plain:10.0f} {ours:10.0f} {ours - plain:10.0f} {row.goal:10.0f}")
        race = subprocess.run(
            [RACE, "16", "1000000", "1000", "1"],
            env=limited | {"LD_PRELOAD": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        missed += race.returncode != 0
        print(f"16 processes racing, killed at random: {race.stdout.strip()}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
