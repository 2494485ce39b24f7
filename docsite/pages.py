"""Collect the site's pages: those of docs/, and those elsewhere in the repository that readers look for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from docsite import links

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
NAVIGATION: Final = Path(__file__).parent / "nav.yml"
ELSEWHERE: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "RELEASE.md": "RELEASE.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "libvgpu/README.md": "libvgpu/README.md",
    "simulator/README.md": "simulator/README.md",
    "gpucheck/README.md": "gpucheck/README.md",
}
"""Path in the repository → path in the site, of pages outside docs/."""


def places() -> dict[str, str]:
    """Return the path in the site of each of its files, by its path in the repository."""
    inside = {str(path.relative_to(ROOT)): str(path.relative_to(DOCS)) for path in DOCS.rglob("*") if path.is_file()}
    return inside | ELSEWHERE


def write(into: Path) -> None:
    """Write every file of the site's source into a folder, which is replaced."""
    shutil.rmtree(into, ignore_errors=True)
    found = places()
    for origin, uri in found.items():
        target = into / uri
        target.parent.mkdir(parents=True, exist_ok=True)
        if uri.endswith(".md"):
            text = (ROOT / origin).read_text(encoding="utf-8")
            target.write_text(links.rewrite(text, origin, uri, found), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / origin, target)


def navigation() -> list[Any]:
    """Return the navigation, with the pages of each folder that it names with `*`."""
    return [_listed(entry) for entry in yaml.safe_load(NAVIGATION.read_text(encoding="utf-8"))]


def _listed(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    ((title, value),) = entry.items()
    if isinstance(value, list):
        return {title: [_listed(one) for one in value]}
    if value.endswith("/*"):
        return {title: list(_of_folder(value.removesuffix("/*")))}
    return entry


def _of_folder(folder: str) -> Iterator[str]:
    """Yield the pages of a folder of docs/, its README first."""
    names = sorted(path.name for path in (DOCS / folder).glob("*.md"))
    yield from (f"{folder}/{name}" for name in sorted(names, key=lambda name: (name != "README.md", name)))
