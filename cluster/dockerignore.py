"""Apply the rules of .dockerignore: which files of a build context an image builder sees."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One line: matching paths, and everything below them, are excluded, or included again."""

    pattern: str
    left_out: bool

    @property
    def expression(self) -> re.Pattern[str]:
        return re.compile(_translate(self.pattern) + "(/.*)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """A whole .dockerignore: the last rule that matches a path decides."""

    rules: tuple[Rule, ...]

    def left_out(self, path: str) -> bool:
        """Return whether the file of that relative path is excluded."""
        verdict = False
        for rule in self.rules:
            if rule.expression.fullmatch(path):
                verdict = rule.left_out
        return verdict

    def barren(self, folder: str) -> bool:
        """Return whether everything below that folder is excluded, so that it needn't be visited."""
        return self.left_out(folder) and not any(
            rule.pattern.startswith((f"{folder}/", "*")) for rule in self.rules if not rule.left_out
        )


def load(context: pathlib.Path) -> Rules:
    """Read the rules of a build context; none if it has no .dockerignore."""
    file = context / ".dockerignore"
    lines = file.read_text().splitlines() if file.exists() else []
    words = [line.strip() for line in lines]
    return Rules(
        tuple(
            Rule(word.removeprefix("!").strip("/"), left_out=not word.startswith("!"))
            for word in words
            if word and not word.startswith("#")
        )
    )


def seen(context: pathlib.Path, start: pathlib.Path, rules: Rules) -> Iterator[pathlib.Path]:
    """Yield every file at or below `start` that an image builder sees."""
    if start.is_file():
        if not rules.left_out(str(start.relative_to(context))):
            yield start
        return
    for folder, folders, files in os.walk(start):
        here = pathlib.Path(folder)
        folders[:] = [name for name in folders if not rules.barren(str((here / name).relative_to(context)))]
        for name in files:
            if not rules.left_out(str((here / name).relative_to(context))):
                yield here / name


def _translate(pattern: str) -> str:
    """Translate a pattern to a regular expression: `*` within one folder, `**` across folders, `?` one character."""
    parts = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        parts.append({"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part)))
    return "".join(parts)
