"""Read manifests from files."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unigpu import errors

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document, or one item of a List."""

    source: str
    """The file, `-` for standard input."""
    document: dict[str, Any]

    @property
    def title(self) -> str:
        """`Deployment/web`, or what there is of it."""
        metadata = self.document.get("metadata")
        name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, dict) else None
        return f"{self.document.get('kind')}/{name or '?'}"


def read(names: Sequence[str]) -> Iterator[Manifest | errors.Malformed]:
    """Yield every document of the files, folders (searched to any depth) and standard input (`-`).

    A document that can't be read comes as an error in its place, so that the rest is still read.
    """
    for name in names:
        paths = _paths(name)
        if isinstance(paths, errors.Malformed):
            yield paths
            continue
        for path in paths:
            yield from _file(path)


class _Loader(yaml.SafeLoader):
    """Leaves times as they are written: Kubernetes has no type for them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _plain(document: object) -> object:
    """The document as JSON has it: no part in two places (YAML's anchors), none within itself, keys that are texts."""
    try:
        return json.loads(json.dumps(document, default=str))
    except (ValueError, TypeError, RecursionError) as error:
        return errors.Malformed(f"it can't be JSON: {error}")


def _paths(name: str) -> Sequence[str] | errors.Malformed:
    if name == "-":
        return ("-",)
    path = Path(name)
    if not path.exists():
        return errors.Malformed(f"{name}: no such file or folder")
    if not path.is_dir():
        return (name,)
    found = sorted(str(inside) for inside in path.rglob("*") if inside.suffix in SUFFIXES and inside.is_file())
    return found or errors.Malformed(f"{name}: no {', '.join(SUFFIXES)} file in it")


def _file(name: str) -> Iterator[Manifest | errors.Malformed]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (OSError, UnicodeDecodeError) as error:
        yield errors.Malformed(f"{name}: {error}")
        return
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        yield errors.Malformed(f"{name}: not YAML or JSON: {' '.join(str(error).split())}")
        return
    for number, document in enumerate(documents, start=1):
        if document is not None:
            yield from _items(name, number, _plain(document))


def _items(name: str, number: int, document: object) -> Iterator[Manifest | errors.Malformed]:
    if isinstance(document, errors.Malformed):
        yield errors.Malformed(f"{name}: document {number}: {document}")
    elif not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        yield errors.Malformed(f"{name}: document {number} is no Kubernetes object: it has no kind")
    elif document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _items(name, number, item)
    else:
        yield Manifest(name, document)
