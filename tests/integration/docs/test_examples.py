"""The step-by-step changes of the contributors' pages work as written."""

import dataclasses
from pathlib import Path

import pytest

from tests.unit.docs import following


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return following.copy(tmp_path / "project")


def test_a_hooked_function_calls_what_there_is(project: Path) -> None:
    """Without a C compiler: tests of libvgpu build the hook and run its test."""
    section = following.steps("A hooked function")
    (test,) = (step for step in section if step.language == "python")
    following.write(project, test)
    said = following.run(project, dataclasses.replace(test, text=f".venv/bin/mypy {test.path}"))
    assert "no issues" in said


def test_a_dialect_is_added(project: Path) -> None:
    said = following.follow("A dialect", project)
    assert "container main (acme): 1 GPU, 512 MiB and 30 % of the compute time" in said[-1]


def test_a_metric_is_added(project: Path) -> None:
    assert "passed" in following.follow("A metric", project)[-1]


def test_a_chart_value_is_added(project: Path) -> None:
    """Without helm; tests of the chart render it."""
    assert "passed" in following.follow("A chart value", project, without="make chart")[-1]
    assert "`webhook.certificateSeconds` | `7776000`" in (project / "docs/reference/chart.md").read_text()
