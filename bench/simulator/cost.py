"""What a kernel, a graph and an allocation cost the host on the simulator: this build beside another one.

`python bench/simulator/cost.py BEFORE`, where BEFORE is another checkout, built by `make simulator`. Both builds run in
turn, each on a machine of its own whose small things take no time; figures are CPU time, medians of nine turns. Without
BEFORE, this build runs beside itself: the ratio then shows what the measurement is worth.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "build/bench/simulator-cost"
LIBRARIES: Final = "build/simulator"
TURNS: Final = 9
SECONDS: Final = "0.2"
MOST: Final = 1.2
"""A build is good if nothing costs more than this times what it cost before."""
KINDS: Final = {
    "kernel": "launch of a kernel",
    "graph": "launch of a graph of 10 kernels",
    "pair": "cuMemAlloc + cuMemFree",
    "async-pair": "cuMemAllocAsync + cuMemFreeAsync",
}


def machine(checkout: Path, folder: Path) -> dict[str, str]:
    """Create a machine with the checkout's own command, and return the variables of programs on it."""
    libraries = checkout / LIBRARIES
    settings = os.environ | {"UNIGPU_SIM_LIBRARIES": str(libraries), "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "simulator", "create", "--dir", str(folder), "--latencies", "off"]
    subprocess.run(
        [*command, "--profile", "a100-40"], cwd=checkout, env=settings, check=True, stdout=subprocess.DEVNULL
    )
    return os.environ | {"UNIGPU_SIM_DIR": str(folder), "LD_LIBRARY_PATH": str(libraries)}


def cost(kind: str, environment: dict[str, str]) -> float:
    """Return the host's time of one call, ns."""
    done = subprocess.run([CLIENT, kind, SECONDS], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> int:
    """Print a line for each call; return 1 if one costs too much."""
    before = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    if not (before / LIBRARIES / "libcuda.so.1").exists():
        print(f"BEFORE = {before}: no {LIBRARIES}; accepted: a checkout in which `make simulator` ran", file=sys.stderr)
        return 2
    worst = 0.0
    print(f"{'host time, ns':36}{'before':>10}{'now':>10}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        builds = [machine(each, Path(folder) / str(place)) for place, each in enumerate((before, ROOT))]
        for kind, title in KINDS.items():
            turns = [[cost(kind, build) for build in builds] for _ in range(TURNS)]
            old, new = (statistics.median(column) for column in zip(*turns, strict=True))
            ratio = statistics.median(turn[1] / turn[0] for turn in turns)
            worst = max(worst, ratio)
            print(f"{title:36}{old:>10.0f}{new:>10.0f}{ratio:>8.2f}")
    print(f"the worst ratio is {worst:.2f}; the most that is good is {MOST}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
