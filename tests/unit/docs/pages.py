"""The project's Markdown pages, and what they name."""

import os
import re
import shlex
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILT = {"build", ".venv"}
"""Folders whose content isn't in a fresh checkout."""

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPERATORS = {"&&", "||", "|", ";", ">", "<", "&", "(", ")"}
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.@-]+(/[\w.*{},@-]*)+")
_MAKE = re.compile(r"\bmake ((?:[a-z][a-z0-9-]*(?![\w./=-]) ?)+)")


@cache
def pages() -> tuple[Path, ...]:
    """Return every page, hidden folders and built ones left out, but for .github."""
    found = []
    for folder, inside, files in os.walk(ROOT):
        # Not even looked into: files of a running cluster come and go there.
        inside[:] = [name for name in inside if not _left_out(name)]
        found += [(Path(folder) / name).relative_to(ROOT) for name in files if name.endswith(".md")]
    return tuple(sorted(found))


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


def commands(page: Path, *program: str) -> list[list[str]]:
    """Return the arguments of each command in the page's code blocks that begins with these words."""
    found = []
    for block in _SHELL.findall((ROOT / page).read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            found += [words[len(program) :] for words in _simple(line) if words[: len(program)] == [*program]]
    return found


def unmarked(page: Path) -> list[str]:
    """Return the lines of the page's code blocks that have no language."""
    blocks = _FENCE.findall((ROOT / page).read_text())
    return [line for block in blocks if block.startswith("```\n") for line in block.splitlines()]


def _simple(line: str) -> list[list[str]]:
    """Return the simple commands of a line; none of a line that begins a text over several lines."""
    reader = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    try:
        words = list(reader)
    except ValueError:
        return []
    found: list[list[str]] = [[]]
    for word in words:
        if word in _OPERATORS:
            found.append([])
        else:
            found[-1].append(word if found[-1] else word.rpartition("/")[2])
    return found
