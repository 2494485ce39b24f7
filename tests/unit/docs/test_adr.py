"""Each decision is a page of one form, and in the index."""

import re
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT

FOLDER = ROOT / "docs/adr"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["Context", "Decision", "Tried", "Consequences"]


def test_numbers_follow_each_other() -> None:
    assert [page.name[:5] for page in DECISIONS] == [f"{number:04}-" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_parts(page: Path) -> None:
    text = page.read_text()
    assert re.match(rf"# {page.name[:4]}: \S.+\n\nStatus: (accepted|replaced by \[?\d{{4}})", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS


def test_the_index_has_every_decision_with_its_title_and_status() -> None:
    rows = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\) \| (.+?) \| (.+?) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    expected = []
    for page in DECISIONS:
        title, status = re.findall(r"^(?:# \d{4}|Status): (.+)$", page.read_text(), re.MULTILINE)[:2]
        expected.append((page.name[:4], page.name, title, status))
    assert rows == expected
