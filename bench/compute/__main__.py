"""`python -m bench.compute`: measure compute shares against the GPU time that the simulated GPU accounts for.

Prints one line per cell and one per scenario. With --strict, the exit status is 1 when a goal is missed.
"""

import argparse
import asyncio
import functools
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from bench.compute import cells, criteria, lending, matrix, pictures, scenarios, shares
from bench.compute.cells import MS, US

NEIGHBOURS: Final = ((30, 70), (10, 90), (20, 30, 50))
PICTURE: Final = Path(__file__).parents[2] / "docs/pictures/share-over-time.svg"


Job = Callable[[Path], Awaitable[list[scenarios.Row]]]


def jobs(repeat: int = 1, window: int = shares.WINDOW) -> dict[str, Job]:
    """The scenarios other than the matrix, by name; those of shares are measured so often, for so many ns."""
    named: dict[str, Job] = {}
    for limits in NEIGHBOURS:
        for kernel in (100 * US, 1 * MS):
            name = f"neighbours-{'-'.join(map(str, limits))}-{kernel // US}us"
            named[name] = functools.partial(scenarios.neighbours, limits=limits, kernel=kernel)
    named |= {"requests": scenarios.short_requests, "soft": lending.soft}
    for place, name in enumerate(scenarios.FAMILIES):
        named[f"family-{place}"] = functools.partial(scenarios.family, name=name)
    for name in shares.setups():
        named[name] = functools.partial(shares.share, name=name, repeat=repeat, window=window)
    named |= {
        "unlimited": scenarios.unlimited,
        "crowd": scenarios.crowd,
        "killed": scenarios.killed,
        "forked": scenarios.forked,
    }
    return named


def length(ns: float) -> str:
    return f"{ns / MS:g} ms" if ns >= MS else f"{ns / US:g} µs"


def mark(*verdicts: criteria.Verdict) -> str:
    if all(verdict.held for verdict in verdicts):
        return ""
    return "  MISSED" if any(not verdict.held and not verdict.doubtful for verdict in verdicts) else "  missed (host)"


def tell(line: matrix.Line | matrix.Failed) -> None:
    """A cell's line, when it is done."""
    cell = line.cell
    if isinstance(line, matrix.Failed):
        print(
            f"{cell.limit:4} % {length(cell.kernel):>7} {cell.multiprocessors:4} {cell.grid:6} {cell.processes:2}"
            f" FAILED  {line.why}",
            flush=True,
        )
        return
    found = line.measured
    bound = f"  programs reach {line.capable:.0f} %" if line.capable < cell.limit else ""
    print(
        f"{cell.limit:4} % {length(cell.kernel):>7} {cell.multiprocessors:4} {cell.grid:6} {cell.processes:2}"
        f" {found.share:8.2f} {line.share.measured:6.2f} {line.share.allowed:5.1f}"
        f" {found.start:8.2f} {line.start.measured:6.2f} {line.start.allowed:5.1f}"
        f" {found.p99 / MS:9.3f} {found.longest / MS:9.1f} {found.settled / MS:9.1f} {line.wait.allowed / MS:8.1f}"
        f" {found.late / MS:7.1f}"
        f"{mark(line.share, line.start, line.wait)}{bound}",
        flush=True,
    )


HEAD: Final = (
    f"{'limit':>6} {'kernel':>7} {'SMs':>4} {'grid':>6} {'pr':>2} {'over 5 s':>8} {'error':>6} {'goal':>5}"
    f" {'first s':>8} {'error':>6} {'goal':>5} {'p99 ms':>9} {'wait ms':>9} {'then':>9} {'goal':>8} {'host ms':>7}"
)


def summary(lines: list[matrix.Line]) -> list[scenarios.Row]:
    """The matrix condensed into four rows."""
    found = []
    for title, unit, verdicts in (
        ("matrix: worst error over 5 s", "points", [(line.share, line.cell) for line in lines]),
        ("matrix: worst error in the first second", "points", [(line.start, line.cell) for line in lines]),
        ("matrix: longest wait", "ms", [(line.wait, line.cell) for line in lines]),
        ("matrix: longest wait after the first second", "ms", [(line.settled, line.cell) for line in lines]),
    ):
        worst, cell = max(verdicts, key=lambda pair: pair[0].measured / pair[0].allowed)
        scale = MS if unit == "ms" else 1
        missed = [verdict for verdict, _ in verdicts if not verdict.held]
        note = f"{cell.limit} %, {length(cell.kernel)}, grid {cell.grid}, {cell.processes} processes; "
        note += f"{len(missed)} of {len(lines)} cells missed"
        if unit == "ms":
            note += f", {sum(not verdict.doubtful for verdict in missed)} by more than the host was late"
        found.append(
            scenarios.Row(
                title, criteria.Verdict(worst.measured / scale, worst.allowed / scale, worst.doubt / scale), unit, note
            )
        )
    return found


def print_rows(found: list[scenarios.Row]) -> None:
    for row in found:
        print(
            f"{row.title:62} {row.verdict.measured:9.2f} {row.verdict.allowed:9.2f} {row.unit:8}"
            f"{mark(row.verdict)}  {row.note}",
            flush=True,
        )


async def run(arguments: argparse.Namespace, folder: Path) -> int:
    """Run the chosen scenarios; return the number of missed goals."""
    missed = 0
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    if not arguments.only or "matrix" in arguments.only:
        print(HEAD)
        chosen = cells.everything() if arguments.full else cells.covering(arguments.seed)
        lines = await matrix.run(folder, chosen, tell)
        print()
        measured = [line for line in lines if isinstance(line, matrix.Line)]
        print_rows(summary(measured))
        missed += len(lines) - sum(line.held for line in measured)
    for name, job in jobs(arguments.repeat, int(arguments.seconds * criteria.SECOND)).items():
        if not arguments.only or any(name.startswith(word) for word in arguments.only):
            try:
                found = await job(folder / name)
            except (RuntimeError, TimeoutError) as error:
                print(f"{name} FAILED  {error}", flush=True)
                missed += 1
                continue
            print_rows(found)
            missed += sum(not row.verdict.held for row in found)
    if arguments.picture:
        PICTURE.write_text(await pictures.measure(folder / "pictures"))
    print(f"\n{missed} goals missed")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.compute", description=__doc__)
    parser.add_argument(
        "--full",
        action="store_true",
        help="measure every cell of the matrix (takes hours) instead of a covering subset",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="choose another covering subset of the matrix (default: %(default)s)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with status 1 when a goal is missed")
    parser.add_argument(
        "--only", nargs="*", default=[], help=f"run only these: matrix, or prefixes of {', '.join(jobs())}"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, help="measure shares so often, and take medians (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=shares.WINDOW / criteria.SECOND,
        help="measure a share for so long (default: %(default)s)",
    )
    parser.add_argument("--picture", action="store_true", help=f"measure and draw {PICTURE.name}")
    arguments = parser.parse_args()
    unknown = [
        word for word in arguments.only if word != "matrix" and not any(name.startswith(word) for name in jobs())
    ]
    if unknown:
        parser.error(f"--only = {unknown[0]}: no scenario has this prefix; accepted: matrix, {', '.join(jobs())}")
    with tempfile.TemporaryDirectory() as folder:
        missed = asyncio.run(run(arguments, Path(folder)))
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
