"""`python -m tests.unit.fuzz`: give each parser of foreign text many generated inputs; print how many led to what.

With --coverage, Atheris guides the inputs by the branches that they reach, if it is installed (`pip install atheris`).
"""

import argparse
import multiprocessing
import random
import sys
import time

from tests.unit.fuzz import guided
from tests.unit.fuzz.parsers import PARSERS
from tests.unit.fuzz.run import Count, Fault, run


def _one(job: tuple[str, int, int]) -> tuple[str, Count | None, str, float]:
    name, number, seed = job
    began = time.monotonic()
    try:
        return name, run(PARSERS[name], number, seed), "", time.monotonic() - began
    except Fault as fault:
        return name, None, str(fault), time.monotonic() - began


def main() -> int:
    """Run; the status is 1 if a parser failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.fuzz", description=__doc__)
    parser.add_argument("parsers", nargs="*", choices=[[], *PARSERS], help="which parsers (default: all)")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs for each (default: 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="of the generator; 0: a random one, which is printed")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count(), help="side by side")
    parser.add_argument("--coverage", action="store_true", help="let Atheris guide the inputs; needs one parser's name")
    chosen = parser.parse_args()
    if chosen.coverage:
        return guided.run(PARSERS[chosen.parsers[0]], chosen.inputs)
    seed = chosen.seed or random.SystemRandom().randrange(1, 1 << 31)
    print(f"seed {seed}", flush=True)
    jobs = [(name, chosen.inputs, seed) for name in chosen.parsers or PARSERS]
    failed = 0
    with multiprocessing.Pool(chosen.processes) as pool:
        for name, count, fault, seconds in pool.imap_unordered(_one, jobs):
            if count is None:
                failed += 1
                print(f"{name:<16} FAULT after {seconds:.0f} s: {fault}", flush=True)
            else:
                rate = f"{count.values:,} values, {count.malformed:,} malformed, {seconds:.0f} s"
                print(f"{name:<16} {count.inputs:,} inputs: {rate}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
