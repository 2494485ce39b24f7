"""Alerts and recording rules, as the chart renders them, in the real promtool: each fires, and doesn't fire."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.cost import queries
from tests.chart.promql import metrics, promtool, unknown
from tests.chart.rendering import CHART, ROOT, Rendered, render

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.yaml"))
FILES = sorted((CHART / "rules").glob("*.yaml"))
RULES = [rule for file in FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}
RUNBOOKS = "https://wiki.example/unigpu/runbooks"
"""Of every-option.yaml."""
SEVERITIES = {"critical", "warning", "info"}


def cases_in(case: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(case.read_text())["tests"]
    return found


def steps(kind: str) -> Iterator[dict[str, Any]]:
    for case in CASES:
        for test in cases_in(case):
            yield from test.get(kind, [])


@pytest.fixture
def rules(every_option: Rendered, tmp_path: Path) -> Path:
    """Return the rendered rules as a file of Prometheus."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(every_option.get("PrometheusRule", "unigpu")["spec"]))
    return path


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_prometheus_without_the_operator_takes_the_files(file: Path) -> None:
    promtool("check", "rules", file)


def test_prometheus_takes_what_is_rendered(rules: Path) -> None:
    promtool("check", "rules", rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_rules_fire_and_do_not_fire(case: Path, rules: Path) -> None:
    document = yaml.safe_load(case.read_text())
    for test in document["tests"]:
        for step in test.get("alert_rule_test", []):
            for alert in step["exp_alerts"]:
                alert["exp_annotations"]["runbook_url"] = f"{RUNBOOKS}/{step['alertname']}.md"
    (rules.parent / "case.yaml").write_text(yaml.dump(document, Dumper=_NoAliases))
    promtool("test", "rules", "case.yaml", cwd=rules.parent)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_to_fire_and_not_to_fire(alert: str) -> None:
    outcomes = {bool(step["exp_alerts"]) for step in steps("alert_rule_test") if step["alertname"] == alert}
    assert outcomes == {True, False}


@pytest.mark.parametrize("record", RECORDS)
def test_every_recording_rule_is_tested(record: str) -> None:
    assert any(step["expr"] == record and step["exp_samples"] for step in steps("promql_expr_test"))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: str, every_option: Rendered) -> None:
    groups = every_option.get("PrometheusRule", "unigpu")["spec"]["groups"]
    (rule,) = (rule for group in groups for rule in group["rules"] if rule.get("alert") == alert)
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}/{alert}.md"
    page = (ROOT / "docs/runbooks" / f"{alert}.md").read_text()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert headings == [alert, "What it means", "What to look at", "What ends it", "When to escalate"]
    assert f"Severity: {rule['labels']['severity']}" in page
    assert f"[{alert}]({alert}.md)" in (ROOT / "docs/runbooks/README.md").read_text()


def test_every_runbook_is_an_alerts() -> None:
    pages = {page.stem for page in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}
    assert pages == set(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert", rule.get("record")))
def test_rules_use_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert metrics(rule["expr"])
    assert not unknown(rule["expr"])


def test_opencosts_names_are_recorded_only_where_a_value_says_so(every_option: Rendered) -> None:
    def groups(rendered: Rendered) -> set[str]:
        return {group["name"] for group in rendered.get("PrometheusRule", "unigpu")["spec"]["groups"]}

    usual = render(values={"monitoring.prometheusRule.enabled": "true"})
    assert groups(every_option) - groups(usual) == {"unigpu.opencost"}


def test_opencost_and_the_report_reserve_the_same() -> None:
    def plain(expression: str) -> str:
        return re.sub(r"\s+", "", expression).replace("'", '"')

    wanted = f"sum by (namespace, pod, container, node) ({queries.DOMINANT})"
    assert plain(RECORDS["container_gpu_allocation"]["expr"]) == plain(wanted)
