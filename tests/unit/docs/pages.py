"""The project's Markdown pages, and what they name."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILT = {"build", ".venv"}
"""Folders whose content isn't in a fresh checkout."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.@-]+(/[\w.*{},@-]*)+")
_MAKE = re.compile(r"\bmake ((?:[a-z][a-z0-9-]*(?![\w./=-]) ?)+)")


@cache
def pages() -> tuple[Path, ...]:
    """Return every page, hidden folders and built ones left out, but for .github."""
    found = (page.relative_to(ROOT) for page in ROOT.rglob("*.md"))
    return tuple(sorted(page for page in found if not any(_left_out(part) for part in page.parts[:-1])))


def _left_out(folder: str) -> bool:
    return folder in BUILT or (folder.startswith(".") and folder != ".github")


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return _FENCE.sub("", (ROOT / page).read_text())


def links(page: Path) -> list[str]:
    """Return the targets of all links that lead to something in the project."""
    text = _CODE.sub("", prose(page))
    return [target for target in _LINK.findall(text) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def named_paths(page: Path) -> list[str]:
    """Return what looks like a path of the project in the page's `code`."""
    tops = {path.name for path in ROOT.iterdir() if path.name not in BUILT}
    words = (word.rstrip(":,;") for code in _CODE.findall(prose(page)) for word in code.split())
    return [word for word in words if _PATH.fullmatch(word) and word.split("/")[0] in tops]


def named_targets(page: Path) -> set[str]:
    """Return the targets that the page tells a reader to make, in `code` and in code blocks."""
    text = (ROOT / page).read_text()
    code = [*_CODE.findall(prose(page)), *_FENCE.findall(text)]
    lines = [line.split("#")[0] for block in code for line in block.splitlines()]
    return {target for line in lines for words in _MAKE.findall(line) for target in words.split()}
