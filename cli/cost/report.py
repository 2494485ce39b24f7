"""The report: lines by namespace, pod or dialect, with their price, as a table, CSV or JSON. Pure."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cli import text
from cli.cost.queries import Line, Pods
from cli.text import Column, Style
from unigpu import names

API_VERSION = f"{names.DOMAIN}/cost/v1"
BY = ("namespace", "pod", "dialect")
BASES = ("reserved", "used")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+)([smhdw])")
_PRICE = re.compile(r"(\d+(?:\.\d+)?)/([smhd])")
_GIB = 1 << 30
_HEAD = ("namespace", "pod", "dialect", "gpu_seconds_used", "gpu_seconds_reserved", "gib_seconds_reserved", "cost")


def duration(given: str) -> int:
    """Return seconds. Raises ValueError that says what is accepted."""
    found = _DURATION.fullmatch(given)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 60 <= seconds <= 400 * 86400:
        raise ValueError(f"{given!r} is not a time; accepted: 90m, 12h, 30d, 4w, up to 400d")
    return seconds


def price(given: str) -> float:
    """Return the price of a GPU second. Raises ValueError that says what is accepted."""
    found = _PRICE.fullmatch(given)
    if found is None:
        raise ValueError(f"{given!r} is not a price of one GPU; accepted: 2.5/h, or /s, /m, /d")
    return float(found[1]) / _SECONDS[found[2]]


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked, and the lines, the most expensive first."""

    start: int
    end: int
    by: str
    basis: str
    per_second: float | None
    lines: list[tuple[tuple[str, str, str], Line]]
    """Namespace, pod and dialect of each; empty where it isn't by that."""

    def cost(self, line: Line) -> float | None:
        """Return the price of a line; None where no price was given."""
        return None if self.per_second is None else getattr(line, self.basis) * self.per_second

    @property
    def total(self) -> Line:
        """The sum of all lines."""
        whole = Line()
        for _, line in self.lines:
            whole.add(line)
        return whole


def report(pods: Pods, start: int, end: int, by: str, basis: str, per_second: float | None) -> Report:
    """Return the report over what pods had."""
    grouped: dict[tuple[str, str, str], Line] = {}
    for (namespace, pod), line in pods.items():
        dialect = "+".join(sorted(line.dialects))
        key = {
            "namespace": (namespace, "", ""),
            "pod": (namespace, pod, dialect),
            "dialect": ("", "", dialect or "unknown"),
        }[by]
        grouped.setdefault(key, Line()).add(line)
    lines = sorted(grouped.items(), key=lambda one: (-getattr(one[1], basis), one[0]))
    return Report(start, end, by, basis, per_second, lines)


def document(found: Report) -> dict[str, Any]:
    """Return the report for programs. Fields may be added; none is renamed, removed or given another meaning."""
    return {
        "apiVersion": API_VERSION,
        "start": found.start,
        "end": found.end,
        "by": found.by,
        "basis": found.basis,
        "pricePerGpuHour": None if found.per_second is None else round(found.per_second * 3600, 6),
        "total": _amounts(found, found.total),
        "lines": [
            {"namespace": key[0] or None, "pod": key[1] or None, "dialect": key[2] or None, **_amounts(found, line)}
            for key, line in found.lines
        ],
    }


def _amounts(found: Report, line: Line) -> dict[str, Any]:
    cost = found.cost(line)
    return {
        "gpuSecondsUsed": round(line.used, 3),
        "gpuSecondsReserved": round(line.reserved, 3),
        "gibSecondsReserved": round(line.memory / _GIB, 3),
        "cost": None if cost is None else round(cost, 4),
    }


def as_csv(found: Report) -> str:
    """Return the report as CSV, a line of names first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEAD)
    for key, line in found.lines:
        amounts = _amounts(found, line)
        writer.writerow([*map(_harmless, key), *("" if one is None else one for one in amounts.values())])
    return out.getvalue()


def _harmless(cell: str) -> str:
    """The text, so that no spreadsheet takes it for a formula. Names of Kubernetes never begin so; labels may."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") and cell else cell


def table(found: Report, style: Style) -> Iterator[str]:
    """Yield the report as a table for people, in GPU hours."""
    heads = {"namespace": ["NAMESPACE"], "pod": ["POD", "DIALECT"], "dialect": ["DIALECT"]}[found.by]
    columns = [Column(head, shrink=number == 0) for number, head in enumerate(heads)]
    columns += [Column(head, right=True) for head in ("GPU-HOURS USED", "RESERVED", "GIB-HOURS")]
    if found.per_second is not None:
        columns.append(Column("COST", right=True))
    rows = []
    for (namespace, pod, dialect), line in found.lines:
        name = {"namespace": [namespace], "pod": [f"{namespace}/{pod}", dialect], "dialect": [dialect]}[found.by]
        rows.append((*map(text.safe, name), *_cells(found, line)))
    rows.append(("total", *[""] * (len(heads) - 1), *_cells(found, found.total)))
    yield from text.table(columns, rows, style)


def _cells(found: Report, line: Line) -> list[str]:
    cells = [f"{line.used / 3600:,.2f}", f"{line.reserved / 3600:,.2f}", f"{line.memory / _GIB / 3600:,.1f}"]
    cost = found.cost(line)
    return cells if cost is None else [*cells, f"{cost:,.2f}"]
