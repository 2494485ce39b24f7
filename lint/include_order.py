"""Check that C includes go one way: down the layers of a tree, and never round in a circle.

Run as `python -m lint.include_order` from the repository's root. A tree is a folder whose subfolders are its layers.
Files include only from their own layer and from lower ones, and no file includes itself by way of others. A header and
the .c file of the same name count as one file, called a unit here. Includes of files outside the tree are not checked.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# The layers of each tree, the highest first. Folders in one tuple are side by side: they don't include each other.
LAYERS: Mapping[str, Sequence[str | tuple[str, ...]]] = {
    "libvgpu": ("interpose", "hooks", ("compute", "memory"), "driver", "shared", "base"),
    "simulator": (("admin", "cuda", "nvml"), "state"),
    "simulator/cuda": ("graph", "module", "stream", "memory", "core"),
}

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def includes(text: str) -> list[str]:
    """Return the paths that a C file includes in quotes, in their order."""
    return _INCLUDE.findall(text)


def check(tree: str, layers: Sequence[str | tuple[str, ...]], files: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each broken rule; none when all is well.

    `files` maps the path of each C file of the tree to what it includes; both are paths from the repository's root.
    """
    levels = {
        name: level for level, names in enumerate(layers) for name in ([names] if isinstance(names, str) else names)
    }
    faults = []
    for path in sorted(files):
        if _layer(tree, path) not in levels:
            faults.append(f"{path}: in none of the layers of {tree}; accepted: {', '.join(levels)}")
            continue
        layer = _layer(tree, path)
        for included in files[path]:
            target = _layer(tree, included)
            if target not in levels or target == layer:
                continue
            if levels[target] < levels[layer]:
                faults.append(f"{path} includes {included}: {target} lies above {layer}")
            elif levels[target] == levels[layer]:
                faults.append(f"{path} includes {included}: {target} and {layer} lie side by side")
    units = _units(files)
    faults += [f"circle: {' -> '.join(circle)}" for circle in circles(units)]
    return faults


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the circles of a graph that a depth-first walk meets, each from its first node back to that node."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
            return
        if node in done:
            return
        for each in sorted(graph.get(node, ())):
            walk(each, [*path, node])
        done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def read_tree(root: Path, tree: str) -> dict[str, list[str]]:
    """Read which files each C file below `tree` includes; paths are relative to `root`."""
    found = sorted(path for path in (root / tree).rglob("*.[chS]"))
    return {str(path.relative_to(root)): includes(path.read_text()) for path in found}


def main(root: Path) -> int:
    """Check every tree of LAYERS, print the faults, and return an exit code."""
    faults = []
    for tree, layers in LAYERS.items():
        files = read_tree(root, tree)
        faults += check(tree, layers, files) if files else [f"{tree}: no C files"]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _layer(tree: str, path: str) -> str:
    """The name of the folder directly below the tree that holds the file; empty when it lies elsewhere."""
    inside = path.removeprefix(f"{tree}/")
    return inside.split("/")[0] if inside != path and "/" in inside else ""


def _unit(path: str) -> str:
    return path.rsplit(".", 1)[0]


def _units(files: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    known = {_unit(path) for path in files}
    graph: dict[str, set[str]] = {unit: set() for unit in known}
    for path, included in files.items():
        graph[_unit(path)] |= {_unit(each) for each in included} & known - {_unit(path)}
    return graph


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
