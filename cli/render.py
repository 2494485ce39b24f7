"""Write translated manifests as YAML, as JSON, or as a diff."""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from cli.translate import Translated

_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m"}
_PLAIN = "\033[0m"


def as_yaml(translated: Sequence[Translated]) -> str:
    """Return the documents, one after the other. Refused ones are left out, so that the rest can be applied."""
    texts = [_yaml(item.after) for item in translated if not item.refusals]
    return "---\n".join(texts)


def as_json(translated: Sequence[Translated]) -> str:
    """Return the document, or a List of several. Refused ones are left out."""
    documents = [item.after for item in translated if not item.refusals]
    if len(documents) == 1:
        return json.dumps(documents[0], indent=2) + "\n"
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}, indent=2) + "\n"


def as_diff(translated: Sequence[Translated], *, colour: bool) -> str:
    """Return a diff of each document, both sides written the same way; nothing for those that stay as they are."""
    return "".join(line for item in translated for line in _diff(item, colour=colour))


def _diff(item: Translated, *, colour: bool) -> Iterator[str]:
    before, after = (_yaml(document).splitlines(keepends=True) for document in (item.manifest.document, item.after))
    titles = f"{item.manifest.source} {item.manifest.title}", f"translated {item.manifest.title}"
    for line in difflib.unified_diff(before, after, *titles, n=2):
        begin = _COLOURS.get(line[0], "") if colour else ""
        yield f"{begin}{line.rstrip()}{_PLAIN}\n" if begin else line


class _Dumper(yaml.SafeDumper):
    """Without anchors, which Kubernetes users don't expect."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
