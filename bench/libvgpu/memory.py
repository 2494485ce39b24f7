"""Overhead of libvgpu on launches, memory, starts and look-ups.

One client program on the bare driver, with the least library that could hold a limit (shim.c), and with libvgpu, in
turn; medians of seven. Calls are processor time, on a driver that does nothing, so that what is added isn't lost in it.
Starts and the race run on the simulated driver, where a context takes its time. Starts are the best of seven, by the
clock: they need a machine that is otherwise idle.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "build/bench/memory"
RACE = ROOT / "build/bench/race"
SHIM = ROOT / "build/bench/shim.so"
LIBVGPU = ROOT / "build/lib/libvgpu.so"
STUB = ROOT / "build/bench/launch"
SIMULATOR = ROOT / "build/simulator"
TURNS = 7
BY_THE_CLOCK = ("init", "first")
WAYS = ("bare", "shim", "libvgpu")


class Goal(Enum):
    """What a row's goal bounds."""

    ADDED = "added to the bare driver, ns"
    RATIO = "times the shim"
    BEYOND = "beyond the shim, ns"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: arguments of the client, number of processes at once, and the goal."""

    title: str
    words: tuple[str, ...]
    processes: int
    kind: Goal
    goal: float
    driver: Path = STUB


ROWS = (
    Row("launch under a core limit", ("launch", "0.3"), 1, Goal.ADDED, 3),
    Row("launch, 2 processes", ("launch", "0.3"), 2, Goal.ADDED, 3),
    Row("free, 50,000 live allocations", ("free", "50000"), 1, Goal.ADDED, 15),
    Row("allocate + free 4 KiB", ("pair", "4096", "0.3"), 1, Goal.RATIO, 1.2, SIMULATOR),
    Row("allocate + free 4 KiB, 2 processes", ("pair", "4096", "0.3"), 2, Goal.RATIO, 1.2, SIMULATOR),
    Row("allocate + free 2 MiB", ("pair", "2097152", "0.3"), 1, Goal.RATIO, 1.2, SIMULATOR),
    Row("allocate + free 2 MiB, 2 processes", ("pair", "2097152", "0.3"), 2, Goal.RATIO, 1.2, SIMULATOR),
    Row("4 KiB, empty driver", ("pair", "4096", "0.3"), 1, Goal.ADDED, 130),
    Row("2 MiB, empty driver", ("pair", "2097152", "0.3"), 1, Goal.ADDED, 130),
    Row("2 MiB, empty driver, 2 processes", ("pair", "2097152", "0.3"), 2, Goal.ADDED, 130),
    Row("dlsym of a hooked name", ("look-up", "cuMemAlloc_v2"), 1, Goal.ADDED, 30),
    Row("dlsym of another name", ("look-up", "cuDeviceGetCount"), 1, Goal.ADDED, 30),
    Row("dlsym of no name of the driver", ("look-up", "cuNothing"), 1, Goal.ADDED, 30),
    Row("cuGetProcAddress, hooked", ("proc", "cuMemAlloc"), 1, Goal.ADDED, 30),
    Row("cuGetProcAddress, another", ("proc", "cuDeviceGetCount"), 1, Goal.ADDED, 30),
    Row("cuGetProcAddress, answer unlisted", ("proc", "cuMemFree"), 1, Goal.ADDED, 30),
    Row("cuGetProcAddress, unknown", ("proc", "cuNothing"), 1, Goal.ADDED, 30),
    Row("cuInit, 128 processes at once", ("init",), 128, Goal.ADDED, 500_000, SIMULATOR),
    Row("cuInit to first memory, 64 at once", ("first",), 64, Goal.BEYOND, 2_000_000, SIMULATOR),
)


def measure(row: Row, environment: Mapping[str, str]) -> float:
    """Return the median over the processes, ns; a few processes have a processor each."""
    processors = sorted(os.sched_getaffinity(0))
    pinned = row.processes <= len(processors)
    started = []
    for place in range(row.processes):
        pin = ["taskset", "-c", str(processors[place])] if pinned else []
        started.append(subprocess.Popen([*pin, CLIENT, *row.words], env=environment, stdout=subprocess.PIPE, text=True))
    return statistics.median(float(process.communicate()[0]) for process in started)


def summary(row: Row, figures: Sequence[float]) -> float:
    """Return the figure of all turns."""
    return min(figures) if row.words[0] in BY_THE_CLOCK else statistics.median(figures)


def environments(folder: Path, driver: Path, fresh: Path) -> dict[str, dict[str, str]]:
    """Return the environment of each way to run the client."""
    bare = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(driver), "UNIGPU_SIM_DIR": f"{folder}/machine"}
    limits = {
        "CUDA_DEVICE_MEMORY_LIMIT": "38g",
        "CUDA_DEVICE_SM_LIMIT": "90",
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": f"{fresh}.usage",
    }
    shim = bare | {"LD_PRELOAD": str(SHIM), "SHIM_TOTAL": f"{fresh}.total"}
    return {"bare": bare, "shim": shim, "libvgpu": bare | limits | {"LD_PRELOAD": str(LIBVGPU)}}


def reached(row: Row, figures: Mapping[str, float]) -> tuple[float, bool]:
    """Return the figure that the goal bounds, and whether it is within."""
    bare, shim, ours = (figures[way] for way in WAYS)
    figure = {Goal.ADDED: ours - bare, Goal.RATIO: ours / shim, Goal.BEYOND: ours - shim}[row.kind]
    return figure, figure <= row.goal


def run(rows: Sequence[Row], folder: Path) -> int:
    """Print a line for each row; return how many goals are missed."""
    missed = 0
    numbers = itertools.count()
    for row in rows:
        turns = []
        for _ in range(TURNS):
            ways = environments(folder, row.driver, folder / str(next(numbers)))
            turns.append({way: measure(row, environment) for way, environment in ways.items()})
        figures = {way: summary(row, [turn[way] for turn in turns]) for way in WAYS}
        figure, within = reached(row, figures)
        missed += not within
        shown = f"{figure:.2f}" if row.kind is Goal.RATIO else f"{figure:,.0f}"
        print(
            f"{row.title:36} {figures['bare']:12,.1f} {figures['shim']:12,.1f} {figures['libvgpu']:12,.1f}"
            f"   {shown:>10} {row.kind.value}, goal {row.goal:,g}{'' if within else ' MISSED'}",
            flush=True,
        )
    return missed


def main() -> int:
    """Print the table; with --strict, return 1 if a goal is missed. Other words choose rows by their titles."""
    chosen = [word for word in sys.argv[1:] if word != "--strict"]
    rows = [row for row in ROWS if not chosen or any(word in row.title for word in chosen)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        print(f"{'ns':36} {'bare':>12} {'shim':>12} {'libvgpu':>12}")
        missed = run(rows, folder)
        if not chosen:
            limited = environments(folder, SIMULATOR, folder / "race")["libvgpu"] | {"LD_PRELOAD": ""}
            command = [str(RACE), "16", "1000000", "1000", "1"]
            race = subprocess.run(command, env=limited, capture_output=True, text=True, check=False)
            missed += race.returncode != 0
            print(f"16 processes racing, killed at random: {race.stdout.strip()}")
    return 1 if missed and "--strict" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
