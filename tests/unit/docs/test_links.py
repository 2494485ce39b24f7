"""Pages link to what exists, and name files and targets that exist."""

import re
from pathlib import Path

import pytest

from tests.unit.docs import following
from tests.unit.docs.pages import ROOT, anchors, links, named_paths, named_targets, pages


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (ROOT / page.parent / path).resolve() if path else ROOT / page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there.relative_to(ROOT))):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", pages(), ids=str)
def test_named_files_exist(page: Path) -> None:
    missing = {path for path in named_paths(page) if not (ROOT / path).exists() and not [*ROOT.glob(path.rstrip("/"))]}
    assert missing <= (following.created() if ROOT / page == following.PAGE else set())


@pytest.mark.parametrize("page", pages(), ids=str)
def test_named_targets_exist(page: Path) -> None:
    makefiles = [ROOT / "Makefile", *(ROOT / "make").glob("*.mk")]
    known = set(re.findall(r"^([a-zA-Z0-9_-]+):", "\n".join(file.read_text() for file in makefiles), re.MULTILINE))
    assert named_targets(page) <= known


def test_pages_are_found() -> None:
    assert {Path("README.md"), Path("docs/architecture.md"), Path("docs/adr/README.md")} <= set(pages())
