"""Draws the chart's Grafana boards from their JSON, with the answers of a Prometheus: what Grafana would ask, as HTML.

It isn't Grafana: it knows the three kinds of panels that the boards have, and draws them plainly, so that a person sees
whether the expressions, units and legends make sense.
"""

import html
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.prometheus.server import Prometheus

Json = dict[str, Any]
SECONDS = 600
STEP = 5
_COLOURS = (
    "#3274d9",
    "#e0752d",
    "#37872d",
    "#8f3bb8",
    "#c4162a",
    "#1f78c1",
    "#b877d9",
    "#8ab8ff",
    "#ffb357",
    "#56a64b",
)
_STYLE = """
body{font:13px system-ui,"DejaVu Sans",sans-serif;background:#f4f5f5;color:#24292e;margin:12px}
.grid{display:grid;grid-template-columns:repeat(24,1fr);gap:8px}
.panel{background:#fff;border:1px solid #d8dade;padding:8px;overflow:hidden}
.panel h2{font-size:13px;margin:0 0 4px}.big{font-size:26px;color:#3274d9}.red{color:#c4162a}
.none{color:#c4162a;font-weight:bold}.legend{font-size:11px;color:#555;line-height:1.3;max-height:64px;overflow:hidden}
table{border-collapse:collapse;font-size:11px}td,th{border:1px solid #ddd;padding:2px 5px;text-align:left}
"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A board as a page, and the panels without any data."""

    page: str
    empty: list[str]


def draw(board: Json, prometheus: Prometheus, variables: Mapping[str, str]) -> Drawn:
    """Draw a board with a value for each of its variables."""
    end = math.floor(time.time() / STEP) * STEP
    parts, empty = [], []
    for panel in board["panels"]:
        answers = [
            (target["legendFormat"], _ask(panel, _expression(target["expr"], variables), prometheus, end))
            for target in panel["targets"]
        ]
        if not any(series for _, series in answers):
            empty.append(panel["title"])
        place = panel["gridPos"]
        body = {"timeseries": _curves, "stat": _number, "table": _table}[panel["type"]](panel, answers, end)
        style = f"grid-column:span {place['w']};height:{place['h'] * 30}px"
        title = f'<h2 title="{html.escape(panel["description"])}">{html.escape(panel["title"])}</h2>'
        parts.append(f'<div class="panel" style="{style}">{title}{body}</div>')
    chosen = ", ".join(f"{name} {value}" for name, value in variables.items())
    head = f"<h1>{html.escape(board['title'])} {html.escape(chosen)}</h1>"
    page = f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{head}<div class=grid>{''.join(parts)}</div>"
    return Drawn(page, empty)


def choices(board: Json, prometheus: Prometheus, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return a value for each variable: the wanted one where it is among those that the variable's query finds."""
    chosen: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert found is not None, variable
        series = prometheus.instant(_expression(found[1], chosen))
        values = sorted({one["metric"][found[2]] for one in series if found[2] in one["metric"]})
        name = variable["name"]
        assert values, f"the variable {name} has no values"
        chosen[name] = wanted[name] if wanted.get(name) in values else values[0]
    return chosen


def _expression(expression: str, variables: Mapping[str, str]) -> str:
    for name, value in {"__rate_interval": "20s", "__range": f"{SECONDS}s", **variables}.items():
        expression = expression.replace(f"${name}", value)
    return expression


def _ask(panel: Json, expression: str, prometheus: Prometheus, end: float) -> list[Json]:
    if panel["type"] != "timeseries":
        return prometheus.instant(expression)
    asked = {"query": expression, "start": f"{end - SECONDS}", "end": f"{end}", "step": f"{STEP}"}
    found: list[Json] = prometheus.get("query_range", **asked)["result"]
    return found


Answers = Sequence[tuple[str, list[Json]]]


def _named(legend: str, metric: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: metric.get(found[1], ""), legend) or "value"


def _curves(panel: Json, answers: Answers, end: float) -> str:
    lines = [
        (_named(legend, one["metric"]), [(at, float(value)) for at, value in one["values"]])
        for legend, series in answers
        for one in series
    ]
    values = [value for _, points in lines for _, value in points if math.isfinite(value)]
    if not values:
        return '<p class="none">no data</p>'
    unit = panel["fieldConfig"]["defaults"]["unit"]
    top = max(values) * 1.1 or 1.0
    drawn, legends = [], []
    for number, (name, points) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(
            f"{(at - end + SECONDS) / SECONDS * 600:.1f},{120 - value / top * 120:.1f}"
            for at, value in points
            if math.isfinite(value)
        )
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        legends.append(f'<span style="color:{colour}">■</span> {html.escape(name)}: {_amount(points[-1][1], unit)}')
    frame = '<rect width="600" height="120" fill="none" stroke="#ddd"/>'
    svg = (
        f'<svg viewBox="0 0 600 122" width="100%" height="55%" preserveAspectRatio="none">{frame}{"".join(drawn)}</svg>'
    )
    return f"<div>top {_amount(top / 1.1, unit)}</div>{svg}<div class=legend>{' '.join(legends)}</div>"


def _number(panel: Json, answers: Answers, end: float) -> str:
    values = [float(one["value"][1]) for _, series in answers for one in series]
    if not values:
        return '<p class="none">no data</p>'
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    alarming = any(step["color"] == "red" and values[0] >= step["value"] for step in steps)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    return f'<div class="big{" red" if alarming else ""}">{_amount(values[0], unit)}</div>'


def _table(panel: Json, answers: Answers, end: float) -> str:
    rows = [one["metric"] for _, series in answers for one in series]
    if not rows:
        return '<p class="none">no data</p>'
    heads = [name for name in rows[0] if name not in ("__name__", "instance", "job")]
    lines = [heads, *([row.get(name, "") for name in heads] for row in rows)]
    return "<table>" + "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines) + "</table>"


def _cell(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _amount(value: float, unit: str) -> str:
    """A value in one of Grafana's units that the boards use."""
    match unit:
        case "bytes":
            return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
        case "hertz":
            return _scaled(value, 1000, ("Hz", "kHz", "MHz", "GHz"))
        case "percentunit":
            return f"{value * 100:.1f} %"
        case "s":
            return (
                f"{value / 86400:.1f} d"
                if value > 86400
                else f"{value * 1000:.1f} ms"
                if value < 1
                else f"{value:.1f} s"
            )
        case "celsius":
            return f"{value:.0f} °C"
        case "watt":
            return f"{value:.1f} W"
        case "ops":
            return f"{value:.2f}/s"
        case "short":
            return f"{value:.4g}"
        case _:
            raise AssertionError(f"the boards have a unit that isn't drawn: {unit}")


def _scaled(value: float, base: int, units: Sequence[str]) -> str:
    place = 0
    while abs(value) >= base and place < len(units) - 1:
        value, place = value / base, place + 1
    return f"{value:.4g} {units[place]}"
