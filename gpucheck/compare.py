"""`python3 -m gpucheck compare REPORT …`: how measured figures differ from the simulator's table of profiles."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

CLOSE: Final = {"context_mib": 8, "sm_mhz": 30, "memory_mhz": 10, "launch_ns": 500, "record_ns": 300}
"""What may differ without a line, by column; nothing otherwise."""


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="gpucheck compare",
        description="Print how reports of `gpucheck --json` differ from simulator/state/profiles.c.",
    )
    top.add_argument("reports", nargs="+", type=Path, metavar="REPORT")
    return top


def differences(report: dict[str, Any], table: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each figure of the report that differs from the table's row for the same GPU."""
    measured = dict(report["profile"])
    name = measured.pop("name", None)
    row = next((each for each in table if each["name"] == name), None)
    if row is None:
        return [f"{name}: no row in the table; measured: {json.dumps(measured)}"]
    small = {f"{key}_ns": value for key, value in row["latencies_ns"].items()}
    measured |= {f"{key}_ns": value for key, value in report["latencies_ns"].items()}
    return [
        f"{row['key']}.{column}: {value} measured, {expected} in the table"
        for column, value in measured.items()
        if (expected := (row | small).get(column)) is not None and abs(value - expected) > CLOSE.get(column, 0)
    ]


def main(argv: Sequence[str]) -> int:
    """Print the differences; return 0 if there are none, else 1, or 2 if a report or the table can't be read."""
    # Needs the built simulator, which the check itself doesn't.
    from simulator import machine

    status = 0
    for path in parser().parse_args(argv).reports:
        try:
            report = json.loads(path.read_text())
            table = machine.profile_table(report.get("driver") or "")
            lines = differences(report, table)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a report of gpucheck --json"
            print(f"gpucheck: {path}: {reason}", file=sys.stderr)
            return 2
        except machine.MachineError as error:
            print(f"gpucheck: {error}", file=sys.stderr)
            return 2
        print("\n".join(lines) if lines else f"{path}: as in the table")
        status = 1 if lines else status
    return status
