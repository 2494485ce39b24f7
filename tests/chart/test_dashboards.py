"""Grafana boards: what they show exists, and Prometheus understands every expression."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.promql import KNOWN, metrics, promtool, unknown
from tests.chart.rendering import CHART, ROOT, Rendered, render

FILES = sorted((CHART / "dashboards").glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in FILES}
COLUMNS = 24
INTERVALS = {"$__rate_interval": "5m", "$__range": "1h"}
"""What Grafana replaces, and by what here."""


def expressions(board: dict[str, Any]) -> Iterator[str]:
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def plain(expression: str) -> str:
    for name, value in INTERVALS.items():
        expression = expression.replace(name, value)
    return expression


def test_there_is_one_for_the_cluster_a_node_a_namespace_and_a_pod() -> None:
    assert set(BOARDS) == {"cluster", "node", "namespace", "pod"}
    assert {board["uid"] for board in BOARDS.values()} == {f"unigpu-{name}" for name in BOARDS}


def test_they_are_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "helm" / "dashboards.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", BOARDS)
def test_prometheus_understands_every_expression(name: str, tmp_path: Path) -> None:
    numbered = enumerate(expressions(BOARDS[name]))
    rules = [{"record": f"board:query_{number}", "expr": plain(expression)} for number, expression in numbered]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": name, "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


@pytest.mark.parametrize("name", BOARDS)
def test_every_metric_exists(name: str) -> None:
    for expression in expressions(BOARDS[name]):
        assert metrics(expression)
        assert not unknown(expression)
        assert not [found for found in metrics(expression) if ":" in found], "boards work without the recording rules"
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            assert not unknown(variable["query"]["query"])


def test_every_metric_is_on_a_board_but_for_those_of_the_optional_page() -> None:
    used = {metric for board in BOARDS.values() for one in expressions(board) for metric in metrics(one)}
    plain_names = {re.sub("_(bucket|count|sum)$", "", metric) for metric in used} | used
    assert {name for name in KNOWN - plain_names if not name.startswith("unigpu_page_")} == set()


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_is_chosen_before_it_is_used(name: str) -> None:
    known = {"datasource"}
    for variable in BOARDS[name]["templating"]["list"]:
        query = variable["query"] if isinstance(variable["query"], str) else variable["query"]["query"]
        assert set(re.findall(r"\$(\w+)", query)) <= known
        known.add(variable["name"])
    used = {word for expression in expressions(BOARDS[name]) for word in re.findall(r"\$(\w+)", expression)}
    assert used - {interval.removeprefix("$") for interval in INTERVALS} == known - {"datasource"}


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows_and_has_a_place_of_its_own(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        if len(panel["targets"]) > 1:
            assert all(target["legendFormat"] for target in panel["targets"])
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert max(column for column, _ in cells) < COLUMNS
        assert not cells & taken
        taken |= cells


def test_grafanas_sidecar_finds_them(every_option: Rendered) -> None:
    default = render(values={"monitoring.dashboards.enabled": "true"})
    for one, label, annotations in (
        (default, ("grafana_dashboard", "1"), None),
        (every_option, ("board", "grafana"), {"grafana_folder": "GPUs"}),
    ):
        for name, board in BOARDS.items():
            made = one.get("ConfigMap", f"unigpu-dashboard-{name}")
            assert made["metadata"]["labels"][label[0]] == label[1]
            assert made["metadata"].get("annotations") == annotations
            assert {key: json.loads(text) for key, text in made["data"].items()} == {f"unigpu-{name}.json": board}
