"""docs/reference/simulator-rules.md: each rule has a place and a test that exist, and pytest collects the test."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "simulator-rules.md"
TESTS = "tests/native/simulator"
KNOWN = set("BSDRN?")


class Row(NamedTuple):
    rule: str
    known: str
    place: str
    test: str


def rows(text: str) -> list[Row]:
    """Return the rows of the page's tables, without their heads."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [Row(*(cell.strip() for cell in row)) for row in cells if row[0] not in {"rule", "---"} and len(row) == 4]


def without_test(row: Row) -> bool:
    return row.test.startswith("not done")


def test_rows_are_whole() -> None:
    found = rows(PAGE.read_text())
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(found) == len(lines) - 2, "each line of the tables has four cells, apart from the two heads"
    assert len({row.rule for row in found}) == len(found) > 40
    assert [row.rule for row in found if not row.known or set(row.known.split()) - KNOWN] == []


def test_places_exist() -> None:
    missing = [
        row.place for row in rows(PAGE.read_text()) if row.place != "–" and not (ROOT / row.place.strip("`")).exists()
    ]
    assert missing == []
    assert [row.rule for row in rows(PAGE.read_text()) if row.place == "–" and not without_test(row)] == []


def test_tests_are_collected() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", TESTS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    collected = {re.sub(r"\[.*", "", line.removeprefix(f"{TESTS}/")) for line in listed.splitlines() if "::" in line}
    named = {row.test for row in rows(PAGE.read_text()) if not without_test(row)}
    assert len(collected) > 60
    assert named - collected == set()
