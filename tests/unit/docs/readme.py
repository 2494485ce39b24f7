"""README.md's commands, and what it shows of `make demo`'s output."""

import re

from tests.unit.docs.pages import ROOT

PAGE = ROOT / "README.md"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ELIDED = "…"
_VARYING = (
    (re.compile(r"GPU-[0-9a-f]{8}"), "GPU-*"),
    (re.compile(r"(?<=[a-z])-[0-9a-f]{8,10}-[a-z0-9]{5}\b"), "-*"),  # a Deployment's pod
    (re.compile(r"[─\s]+"), " "),  # columns are as wide as their content
)


def commands() -> list[str]:
    """Return each command of the page as printed, with its comment, in the page's order."""
    found = []
    for language, text in _BLOCK.findall(PAGE.read_text()):
        if language == "sh":
            found += text.replace("\\\n", "").splitlines()
    return found


def command(beginning: str) -> str:
    """Return the one command that begins like this."""
    (found,) = (line for line in commands() if line.startswith(beginning))
    return found


def demo_output() -> str:
    """Return what the page says that `make demo` ends with."""
    (found,) = (text for language, text in _BLOCK.findall(PAGE.read_text()) if not language)
    return str(found)


def difference(shown: str, printed: str) -> str:
    """Return where the shown output first departs from what was printed, empty where it doesn't.

    What differs from run to run counts as the same, and a line of … stands for any lines.
    """
    lines = [_plain(line) for line in printed.splitlines()]
    at, skip = 0, True  # the shown output is the end of a longer one
    for line in shown.splitlines():
        wanted = _plain(line)
        if wanted == _ELIDED:
            skip = True
            continue
        found = next((index for index in range(at, len(lines)) if lines[index] == wanted), None) if skip else at
        if found is None or found >= len(lines) or lines[found] != wanted:
            instead = lines[found] if found is not None and found < len(lines) else "nothing like it"
            return f"README.md shows\n  {wanted}\nand printed was\n  {instead}"
        at, skip = found + 1, False
    return ""


def _plain(line: str) -> str:
    for pattern, instead in _VARYING:
        line = pattern.sub(instead, line)
    return line.strip()
