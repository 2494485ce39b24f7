"""The check of C includes finds what it is for, and the project's own trees pass it."""

from pathlib import Path

import pytest

from lint import include_order

LAYERS = ("high", ("left", "right"), "low")


@pytest.mark.parametrize(
    ("path", "included", "fault"),
    [
        ("t/high/a.c", "t/low/b.h", None),
        ("t/left/a.c", "t/left/b.h", None),
        ("t/left/a.c", "elsewhere/b.h", None),
        ("t/low/a.c", "t/high/b.h", "t/low/a.c includes t/high/b.h: high lies above low"),
        ("t/left/a.c", "t/right/b.h", "t/left/a.c includes t/right/b.h: right and left lie side by side"),
        ("t/new/a.c", "t/low/b.h", "t/new/a.c: in none of the layers of t; accepted: high, left, right, low"),
        ("t/a.c", "t/low/b.h", "t/a.c: in none of the layers of t; accepted: high, left, right, low"),
    ],
)
def test_one_include(path: str, included: str, fault: str | None) -> None:
    found = include_order.check("t", LAYERS, {path: [included]})
    assert found == ([fault] if fault else [])


def test_circle_within_a_layer() -> None:
    files = {
        "t/low/a.c": ["t/low/a.h", "t/low/b.h"],
        "t/low/a.h": [],
        "t/low/b.h": [],
        "t/low/b.c": ["t/low/b.h", "t/low/c.h"],
        "t/low/c.h": ["t/low/a.h"],
    }
    assert include_order.check("t", LAYERS, files) == ["circle: t/low/a -> t/low/b -> t/low/c -> t/low/a"]


def test_a_header_and_its_own_file_are_one() -> None:
    assert include_order.check("t", LAYERS, {"t/low/a.c": ["t/low/a.h"], "t/low/a.h": []}) == []


def test_includes_are_read() -> None:
    text = '#include <stdio.h>\n#include "t/low/a.h"\n  # include "t/low/b.h" /* why */\n// #include "t/low/c.h"\n'
    assert include_order.includes(text) == ["t/low/a.h", "t/low/b.h"]


def test_planted_fault_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(include_order, "LAYERS", {"t": LAYERS})
    for name in ("high", "low"):
        (tmp_path / "t" / name).mkdir(parents=True)
    (tmp_path / "t/high/a.h").touch()
    low = tmp_path / "t/low/b.c"
    low.touch()
    assert include_order.main(tmp_path) == 0
    low.write_text('#include "t/high/a.h"\n')
    assert include_order.main(tmp_path) == 1
    assert capsys.readouterr().err == "t/low/b.c includes t/high/a.h: high lies above low\n"


def test_a_tree_that_moved_away_fails_the_command(tmp_path: Path) -> None:
    assert include_order.main(tmp_path) == 1


def test_the_project_passes() -> None:
    assert include_order.main(Path(__file__).parents[3]) == 0
