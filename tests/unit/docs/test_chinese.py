"""The Chinese pages have what the English pages have, section by section, so that a change there isn't missed here.

Compared is what needs no translation: blocks of code, the number of points of lists, and the rows of tables with the
names in them. A new section of an English page is translated, or named in LEFT_OUT.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = {
    "README.md": "README.md",
    "install.md": "docs/install.md",
    "dialects.md": "docs/reference/dialects.md",
    "migrate.md": "docs/migrate/README.md",
}
"""Page of docs/zh → the English page that it follows."""
LEFT_OUT = {
    "README.md": {"Licence"},
    "install.md": {"The demo on your cluster", "Vendors' resources on nodes", "Argo CD and Flux"},
    "dialects.md": {
        "Others",
        "Rules of a namespace",
        "Quotas and limit ranges",
        "Annotations that only unigpu writes",
        "Copies of a running pod",
        "Names by configuration",
        "Adding a dialect",
    },
    "migrate.md": set(),
}
"""Sections that are only in English; each Chinese page says so, or links to them."""
ONLY_ENGLISH = {("README.md", "Try it, without a GPU"): frozenset({""})}
"""Languages of blocks that a section has only in English: what the demo prints."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


def text(page: str) -> str:
    return (ROOT / page).read_text()


def sections(page: str) -> list[tuple[str, str]]:
    """Return titles and texts; the part before the first section has no title. A # in a block of code is no title."""
    lines, found = iter(text(page).splitlines(keepends=True)), [["", ""]]
    fenced = False
    for line in lines:
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced:
            found.append([line.removeprefix("## ").strip(), ""])
        else:
            found[-1][1] += line
    return [(title, body) for title, body in found]


def blocks(body: str, without: frozenset[str] = frozenset()) -> list[str]:
    return [block for language, block in _FENCE.findall(body) if language not in without]


def points(body: str) -> int:
    """Return how many points its lists have."""
    return len(re.findall(r"^(?:- |\d+\. )", _FENCE.sub("", body), re.MULTILINE))


def rows(body: str) -> list[set[str]]:
    """Return the names in each row of its tables."""
    lines = [line for line in _FENCE.sub("", body).splitlines() if line.startswith("|")]
    return [set(_CODE.findall(line)) for line in lines]


def pairs(page: str) -> list[tuple[str, str, str]]:
    """Return the English title and both texts of each section that is in both languages."""
    followed = [(title, body) for title, body in sections(PAGES[page]) if title not in LEFT_OUT[page]]
    chinese = sections(f"docs/zh/{page}")
    assert len(chinese) == len(followed), f"docs/zh/{page} has {len(chinese)} sections, not {len(followed)}"
    return [(title, body, own) for (title, body), (_, own) in zip(followed, chinese, strict=True)]


def test_every_chinese_page_follows_an_english_one() -> None:
    assert {path.name for path in (ROOT / "docs" / "zh").iterdir()} == set(PAGES)


def test_what_is_left_out_is_there_in_english() -> None:
    for page, english in PAGES.items():
        assert LEFT_OUT[page] <= {title for title, _ in sections(english)}


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_code_are_the_same(page: str) -> None:
    for title, english, chinese in pairs(page):
        without = ONLY_ENGLISH.get((page, title), frozenset())
        assert blocks(chinese) == blocks(english, without), title


@pytest.mark.parametrize("page", PAGES)
def test_lists_have_the_same_points(page: str) -> None:
    assert {title: points(chinese) for title, _, chinese in pairs(page)} == {
        title: points(english) for title, english, _ in pairs(page)
    }


@pytest.mark.parametrize("page", PAGES)
def test_rows_of_tables_name_the_same(page: str) -> None:
    for title, english, chinese in pairs(page):
        assert rows(chinese) == rows(english), title


@pytest.mark.parametrize("page", sorted(PAGES))
def test_names_are_in_the_english_pages(page: str) -> None:
    """A field or a value that was renamed there is renamed here, also outside tables."""
    english = "\n".join(
        path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if "zh" not in path.parts
    )
    names = {name for name in _CODE.findall(_FENCE.sub("", text(f"docs/zh/{page}"))) if "/" in name or "." in name}
    assert names and sorted(name for name in names if name not in english) == []
