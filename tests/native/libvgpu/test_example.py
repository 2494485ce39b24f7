"""The hooked function of the contributors' pages works as written."""

from pathlib import Path

from tests.native.libvgpu.machine import ROOT
from tests.unit.docs import following


def test_a_hooked_function_is_added(tmp_path: Path) -> None:
    project = following.copy(tmp_path / "project")
    (project / "build").mkdir()
    for folder in ("simulator", "probe"):
        (project / "build" / folder).symlink_to(ROOT / "build" / folder)
    assert "passed" in following.follow("A hooked function", project)[-1]
