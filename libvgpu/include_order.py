"""Check the order of libvgpu's folders: which folder's headers a source file may include.

`python -m libvgpu.include_order` prints each include that breaks the order and exits with 1 where there is one.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
LAYERS: Sequence[frozenset[str]] = (
    frozenset({"interpose"}),
    frozenset({"hooks"}),
    frozenset({"compute", "memory"}),
    frozenset({"driver"}),
    frozenset({"shared"}),
    frozenset({"base"}),
)
"""From the top down. A folder includes its own headers and those of lower layers, not those of its own layer."""

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
OUTSIDE = ("abi/",)
"""What libvgpu includes from elsewhere in the repository."""


def folder_error(path: str, included: str) -> str | None:
    """Return why the file must not include the header, or None where it may."""
    if included.startswith(OUTSIDE):
        return None
    parts = PurePosixPath(included).parts
    if len(parts) != 3 or parts[0] != "libvgpu":
        return f'{path} includes "{included}": not a path from the root; accepted: "libvgpu/<folder>/<header>"'
    layers = {folder: depth for depth, layer in enumerate(LAYERS) for folder in layer}
    own, other = PurePosixPath(path).parts[1], parts[1]
    if own not in layers or other not in layers:
        unknown = own if own not in layers else other
        return f'{path} includes "{included}": folder {unknown} has no place in the order; add it to LAYERS'
    if own == other or layers[own] < layers[other]:
        return None
    below = sorted({own} | {folder for folder, depth in layers.items() if depth > layers[own]})
    return f'{path} includes "{included}": {own} stands below {other} or next to it; accepted: {", ".join(below)}'


def find_cycle(edges: Mapping[str, Iterable[str]]) -> Sequence[str] | None:
    """Return modules that include each other in a circle, the first one repeated at the end, or None."""
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> Sequence[str] | None:
        if module in trail:
            return (*trail[trail.index(module) :], module)
        if module in done:
            return None
        for other in sorted(edges.get(module, ())):
            if found := visit(other, (*trail, module)):
                return found
        done.add(module)
        return None

    for module in sorted(edges):
        if found := visit(module, ()):
            return found
    return None


def find_errors(sources: Mapping[str, str]) -> Sequence[str]:
    """Return a line for each include that breaks the order, and one for a circle of modules.

    `sources` maps paths from the repository's root to contents. A module is a header and the source file of that name.
    """
    errors, edges = [], dict[str, set[str]]()
    for path, text in sorted(sources.items()):
        module = str(PurePosixPath(path).with_suffix(""))
        for included in INCLUDE.findall(text):
            if error := folder_error(path, included):
                errors.append(error)
            other = str(PurePosixPath(included).with_suffix(""))
            if other != module:
                edges.setdefault(module, set()).add(other)
    if cycle := find_cycle(edges):
        errors.append(f"modules include each other in a circle: {' → '.join(cycle)}")
    return errors


def main() -> int:
    """Print the errors; return the exit code."""
    found = sorted([*ROOT.glob("libvgpu/*/*.[ch]"), *ROOT.glob("libvgpu/*/*.S")])
    errors = find_errors({str(path.relative_to(ROOT)): path.read_text() for path in found})
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
