"""Expressions of Prometheus: the metrics that they name, and the real promtool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART
from unigpu import names

RULES = [
    rule
    for file in sorted((CHART / "rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
OTHERS = {"up", "apiserver_admission_webhook_rejection_count"}
"""Metrics of Prometheus itself, and of the API server."""
KNOWN = {value for name, value in vars(names).items() if name.startswith("METRIC_")}
_METRIC = re.compile(r"(?<![\w:])(?:\w+:)?unigpu_\w+(?::\w+)?|(?<![\w:])[a-z][\w:]*(?=[{\[])")


def promtool(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Run promtool; fails the test where it does, or where it isn't there."""
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("no promtool: install the Debian package prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def metrics(expression: str) -> set[str]:
    """Return the names of the metrics in an expression, those of recording rules included."""
    return set(_METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))


def unknown(expression: str) -> set[str]:
    """Return those that nothing serves: neither a part of unigpu, nor a recording rule, nor one of OTHERS."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    served = KNOWN | OTHERS | recorded
    return {name for name in metrics(expression) if not {name, re.sub("_(bucket|count|sum)$", "", name)} & served}
