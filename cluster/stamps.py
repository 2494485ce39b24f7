"""Hash the inputs of a step, so that it runs again only when their content changes, regardless of time stamps."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterable

from cluster import settings, units

IGNORED = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")


def digest(files: Iterable[pathlib.Path], words: Iterable[str] = ()) -> str:
    """Hash words, and names and contents of files; a folder stands for all files in it."""
    total = hashlib.sha256()
    for word in words:
        total.update(f"{len(word)}:{word}".encode())
    for file in sorted(_expand(files)):
        content = file.read_bytes()
        name = str(file.relative_to(settings.ROOT)) if file.is_relative_to(settings.ROOT) else str(file)
        total.update(f"{len(name)}:{name}:{file.stat().st_mode & 0o111}:{len(content)}:".encode())
        total.update(content)
    return total.hexdigest()[:16]


def _expand(files: Iterable[pathlib.Path]) -> set[pathlib.Path]:
    found: set[pathlib.Path] = set()
    for file in files:
        inside = file.rglob("*") if file.is_dir() else [file]
        found.update(
            entry
            for entry in inside
            if entry.is_file() and not any(part in IGNORED or part.endswith(".egg-info") for part in entry.parts)
        )
    return found


def current(stamp: pathlib.Path, value: str, products: Iterable[pathlib.Path]) -> bool:
    """Return whether the step with this stamp and these products has already run with these inputs."""
    return stamp.exists() and stamp.read_text() == value and all(product.exists() for product in products)


def leave(stamp: pathlib.Path, value: str) -> None:
    """Record that the step has run with these inputs."""
    units.write_whole(stamp, value)
