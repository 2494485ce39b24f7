"""Peers' own test tables: what unigpu makes of each request, and why that differs where it does."""

from typing import Any

import pytest

from cli import peer_table

ROWS = peer_table.rows()


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['peer']}: {row['case']}" for row in ROWS])
def test_every_row(row: dict[str, Any]) -> None:
    said = peer_table.ours(row)
    if said.startswith("refused: "):
        assert said.startswith(row["ours"])
    else:
        assert said.partition("; warning: ")[0] == row["ours"]
    if "why" not in row:
        assert row["theirs"].startswith("refused") is said.startswith("refused: "), "a difference needs a reason"
        assert row["theirs"].startswith("left alone") is (said == "left alone"), "a difference needs a reason"


def test_no_row_is_there_twice() -> None:
    assert len({(row["peer"], row["case"]) for row in ROWS}) == len(ROWS)
    assert len({row["peer"].partition(",")[0] for row in ROWS}) == 4


def test_the_page_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer_table.main(["--check"]) == 0, capsys.readouterr().err
