"""The chart value of the contributors' pages works as written."""

import shutil
from pathlib import Path

from tests.chart.rendering import HELM
from tests.unit.docs import following


def test_a_chart_value_is_added(tmp_path: Path) -> None:
    project = following.copy(tmp_path / "project")
    if HELM.exists():
        (project / "build").mkdir()
        (project / "build/bin").symlink_to(HELM.parent)
    else:
        assert shutil.which("helm"), "no helm: install it, or build it with `make cluster`"
    assert "passed" in following.follow("A chart value", project)[-1]
