"""`python3 -m gpucheck`: ask the driver of this machine what the project believes about it; one line for each step."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gpucheck import children, outcome, steps_a

ROOT = Path(__file__).resolve().parent.parent


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="gpucheck", description="Check what the project believes about GPUs on this one."
    )
    top.add_argument("--json", type=Path, help="write the outcomes to this file, too")
    top.add_argument("--libvgpu", type=Path, default=ROOT / "build/lib/libvgpu.so", help="the built libvgpu")
    top.add_argument("--allocations", type=int, default=10_000, help="random allocations to make (default: 10000)")
    top.add_argument("--processes", type=int, default=8, help="processes to start at once (default: 8)")
    return top


def run(arguments: argparse.Namespace) -> int:
    """Take every step; return how many differ."""
    library = arguments.libvgpu if arguments.libvgpu.exists() else None
    place = outcome.Place(ROOT, library, arguments.allocations, arguments.processes)
    found = []
    for step in steps_a.STEPS:
        found.append(outcome.take(step, place))
        print(outcome.line(found[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(each) for each in found], indent=2) + "\n")
    return sum(each.result == "differs" for each in found)


def main(argv: Sequence[str]) -> int:
    """Run the check, or one of its child processes; return 0, or 1 if a step differs."""
    if argv[:1] == ["child"]:
        name, *rest = argv[1:]
        children.CHILDREN[name](*rest)
        return 0
    return 1 if run(parser().parse_args(argv)) else 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # a driver that is at odds with its end must not spoil the answer
