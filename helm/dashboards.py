"""Generate the chart's Grafana boards: `python helm/dashboards.py [--check]`.

helm/boards has what they show; this is how Grafana wants it written. With --check nothing is written; the exit status
is 1 if a file isn't current.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helm import generated  # noqa: E402
from helm.boards import BOARDS  # noqa: E402
from helm.boards.model import Board, Panel, Query, Variable  # noqa: E402

FOLDER = ROOT / "helm" / "unigpu" / "dashboards"

_COLUMNS = 24
"""Of Grafana's grid."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def document(board: Board) -> dict[str, Any]:
    """Return the board as Grafana imports it."""
    return {
        "uid": f"unigpu-{board.name}",
        "title": board.title,
        "description": board.description,
        "tags": ["unigpu"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_SOURCES, *[_variable(variable) for variable in board.variables]]},
        "links": [_LINKS],
        "panels": list(_panels(board.panels)),
    }


_SOURCES = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
_LINKS = {"title": "unigpu", "type": "dashboards", "tags": ["unigpu"], "includeVars": True, "keepTime": True}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,  # when the time range changes: pods come and go
        "sort": 1,
    }


def _panels(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Place the panels from left to right, and begin a new row where the next doesn't fit."""
    placed = []
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, height = x + panel.width, max(height, panel.height)
    return placed


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults["min"] = 0
        if panel.stacked:
            defaults["custom"] = {"fillOpacity": 25, "stacking": {"mode": "normal"}}
    if panel.alarming:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    else:
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [_target(panel, index, query) for index, query in enumerate(panel.queries)],
    }


def _target(panel: Panel, index: int, query: Query) -> dict[str, Any]:
    target: dict[str, Any] = {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend,
    }
    if panel.kind != "timeseries":
        target |= {"instant": True, "range": False}
    if panel.kind == "table":
        target["format"] = "table"
    return target


def main() -> int:
    """Write the boards, or check them. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Generates the chart's Grafana boards.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file isn't current")
    check = parser.parse_args().check
    current = {FOLDER / f"{board.name}.json": json.dumps(document(board), indent=2) + "\n" for board in BOARDS}
    return generated.update(current, ROOT, check=check)


if __name__ == "__main__":
    raise SystemExit(main())
