"""`python3 -m gpucheck`: ask the driver of this machine what the project believes about it; one line for each step."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gpucheck import children, children_b, children_c, compare, outcome, report, steps_a, steps_b, steps_c

ROOT: Final = Path(__file__).resolve().parent.parent
PARTS: Final = {"a": steps_a.STEPS, "b": steps_b.STEPS, "c": steps_c.STEPS}
CHILDREN: Final = children.CHILDREN | children_b.CHILDREN | children_c.CHILDREN


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="gpucheck",
        description="Check what the project believes about GPUs on this one.",
        epilog="`gpucheck compare REPORT …` prints how reports differ from the simulator's table of profiles.",
    )
    top.add_argument("--part", choices=(*PARTS, "all"), default="all", help="the steps to take (default: all)")
    top.add_argument("--only", help="take only the steps whose names contain this text")
    top.add_argument("--json", type=Path, help="write the report to this file, too")
    top.add_argument("--libvgpu", type=Path, default=ROOT / "build/lib/libvgpu.so", help="the built libvgpu")
    top.add_argument("--allocations", type=int, default=10_000, help="random allocations to make (default: 10000)")
    top.add_argument("--processes", type=int, default=8, help="processes to start at once (default: 8)")
    top.add_argument("--seconds", type=float, default=2.0, help="how long to measure each share (default: 2)")
    top.add_argument("--rounds", type=int, default=100, help="how often to repeat what fails rarely (default: 100)")
    top.add_argument("--minutes", type=float, default=9.5, help="take no new step after this time (default: 9.5)")
    return top


def run(arguments: argparse.Namespace) -> int:
    """Take the steps; return how many differ."""
    library = arguments.libvgpu if arguments.libvgpu.exists() else None
    place = outcome.Place(
        ROOT, library, arguments.allocations, arguments.processes, arguments.seconds, rounds=arguments.rounds
    )
    steps = [step for part, each in PARTS.items() if arguments.part in (part, "all") for step in each]
    if arguments.only is not None:
        steps = [step for step in steps if arguments.only in step.name]
        if not steps:
            print(f"gpucheck: --only = {arguments.only}: no step has this in its name", file=sys.stderr)
            return 1
    found, end = [], time.monotonic() + arguments.minutes * 60
    for step in steps:
        late = time.monotonic() > end
        found.append(outcome.Outcome(step.name, "skipped", "no time left", {}) if late else outcome.take(step, place))
        print(outcome.line(found[-1]), flush=True)
        if arguments.json:
            arguments.json.write_text(report.text(found))
    return sum(each.result == "differs" for each in found)


def main(argv: Sequence[str]) -> int:
    """Run the check, the comparison, or a child process of the check; return 0, or 1 if a step differs."""
    if argv[:1] == ["child"]:
        name, *rest = argv[1:]
        CHILDREN[name](*rest)
        return 0
    if argv[:1] == ["compare"]:
        return compare.main(argv[1:])
    return 1 if run(parser().parse_args(argv)) else 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # a driver that is at odds with its end must not spoil the answer
