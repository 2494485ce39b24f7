"""Write the tables of options in docs/reference/cli.md from the parser: `python -m cli.reference`."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.__main__ import parser

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
_PLACE = re.compile(r"(<!-- options of (\w+) -->\n).*?(<!-- end of options -->)", re.DOTALL)
_COMMON = ("-h, --help", "--kubeconfig", "--context")
"""Options that every command has, described once."""


def tables() -> dict[str, str]:
    """Return the Markdown table of each command's arguments."""
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {name: "\n".join(_table(inner)) + "\n" for name, inner in action.choices.items()}
    raise AssertionError("the parser has no commands")


def _table(command: argparse.ArgumentParser) -> Iterator[str]:
    yield "| argument | meaning |"
    yield "|---|---|"
    for action in command._actions:
        shown = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if shown in _COMMON:
            continue
        if action.option_strings and action.nargs != 0:
            shown += f" {_value(action)}"
        elif action.choices:
            shown = _value(action)
        text = (action.help or "") % {**vars(action), "prog": "kubectl unigpu"}
        yield f"| `{shown}` | {text} |"


def _value(action: argparse.Action) -> str:
    return "\\|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest.upper())


def written(page: str) -> str:
    """Return the page with current tables."""
    made = tables()
    return _PLACE.sub(lambda place: f"{place[1]}{made[place[2]]}{place[3]}", page)


def main() -> int:
    """Write the page."""
    PAGE.write_text(written(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
