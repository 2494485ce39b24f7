"""The Chinese pages: their commands are those of the English pages, so that a change there isn't missed here."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = {
    "README.md": ("README.md", "docs/install.md"),
    "install.md": ("docs/install.md", "README.md"),
    "dialects.md": ("docs/reference/dialects.md",),
    "migrate.md": ("docs/migrate/README.md",),
}
"""Page of docs/zh → the English pages that it follows."""

_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


def test_every_chinese_page_follows_an_english_one() -> None:
    assert {path.name for path in (ROOT / "docs" / "zh").iterdir()} == set(PAGES)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_its_command_lines_are_in_the_english_page(page: str) -> None:
    english = "\n".join((ROOT / path).read_text() for path in PAGES[page])
    lines = [line for block in _BLOCK.findall((ROOT / "docs/zh" / page).read_text()) for line in block.splitlines()]
    assert lines and [line for line in lines if line not in english] == []


@pytest.mark.parametrize("page", ["dialects.md", "install.md"])
def test_its_names_are_in_the_english_pages(page: str) -> None:
    """A field or a value that was renamed there is renamed here."""
    english = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md") if "zh" not in path.parts)
    names = {name for name in _CODE.findall((ROOT / "docs/zh" / page).read_text()) if "/" in name or "." in name}
    assert names and sorted(name for name in names if name not in english) == []


def test_the_guide_to_move_has_every_step() -> None:
    """It is followed as it stands, so that it has the English page's blocks of commands, in its order."""
    chinese, english = ((ROOT / path).read_text() for path in ("docs/zh/migrate.md", *PAGES["migrate.md"]))
    assert _BLOCK.findall(chinese) == _BLOCK.findall(english)
    assert chinese.count("\n## ") == english.count("\n## ")
