"""The page that compares unigpu with its peers' own test tables: made from a table of requests, and from what unigpu
makes of each.

    python -m cli.peer_table            write docs/reference/peers.md
    python -m cli.peer_table --check    fail where it isn't current
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cli import translate
from cli.manifests import Manifest
from unigpu import names
from webhook.translation.options import Options

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs/reference/peers.yaml"
PAGE = ROOT / "docs/reference/peers.md"
FIELDS = ("limits", "requests", "annotations", "labels")
HEAD = """\
# Peers' own test tables

<!-- Made by `python -m cli.peer_table` from peers.yaml. -->

Each row is a request from the tests of another project, with the outcome that the project's test or code has, and what
unigpu makes of it. Where the two differ, the last column says why. A test runs every row. Sources: HAMi's
`pkg/scheduler/webhook_test.go` and `pkg/device/nvidia/device_test.go`, Volcano's `pkg/scheduler/api/devices/nvidia`,
KAI Scheduler's `pkg/admission/webhook/v1alpha2`, gpu-admission's `pkg/predicate`, `pkg/algorithm` and `pkg/util`.
"""


def rows() -> list[dict[str, Any]]:
    """Return the table."""
    found: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return found


def pod(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod of a row."""
    main = {"name": "main", **{key: row[key] for key in ("limits", "requests") if key in row}}
    spec: dict[str, Any] = {"containers": [_container(one) for one in row.get("containers", [main])]}
    if "init" in row:
        spec["initContainers"] = [_container(one) for one in row["init"]]
    for key, field in (("scheduler", "schedulerName"), ("node", "nodeName")):
        if key in row:
            spec[field] = row[key]
    metadata = {"name": "p"} | {key: row[key] for key in ("annotations", "labels") if key in row}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _container(one: Mapping[str, Any]) -> dict[str, Any]:
    resources = {
        kind: {name: str(value) for name, value in one[kind].items()} for kind in ("limits", "requests") if kind in one
    }
    return {"name": one["name"], "image": "x", "resources": resources}


def ours(row: Mapping[str, Any]) -> str:
    """Return what unigpu makes of a row's pod, as `kubectl unigpu translate` says it."""
    done = translate.translate(Manifest("peers", pod(row)), Options())
    lines = [f"refused: {' '.join(line.split())}" for line in done.refusals] or list(done.remarks) or ["left alone"]
    asked = json.loads(done.after["metadata"].get("annotations", {}).get(names.ANNOTATION_REQUEST, "{}"))
    wishes = [f"{key} {_words(value)}" for key, value in asked.get("preferences", {}).items()]
    said = [line.replace("Pod/p: ", "") for line in lines]
    warnings = [line for line in said if line.startswith("warning: ")]
    return "; ".join([line for line in said if line not in warnings] + wishes + warnings)


def _words(wish: object) -> str:
    """Return a preference's value: a word, several words, or that it is there at all."""
    return ", ".join(wish) if isinstance(wish, list) else wish if isinstance(wish, str) else "wished"


def page() -> str:
    """Return the whole page."""
    table = rows()
    agree = sum("why" not in row for row in table)
    lines = [HEAD, f"{agree} of {len(table)} rows agree; the others have a reason.\n"]
    for peer in dict.fromkeys(row["peer"] for row in table):
        lines += [f"## {peer}\n", "| request | their outcome | unigpu's | why it differs |", "|---|---|---|---|"]
        lines += [_line(row) for row in table if row["peer"] == peer]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Mapping[str, Any]) -> str:
    cells = (f"{row['case']}: {', '.join(_fields(row))}", row["theirs"], ours(row), row.get("why", ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _fields(row: Mapping[str, Any]) -> Iterator[str]:
    for kind in FIELDS:
        for name, value in row.get(kind, {}).items():
            yield f"`{name}: {value}`" + ("" if kind == "limits" else f" ({kind})")
    for kind in ("containers", "init"):
        for one in row.get(kind, []):
            said = ", ".join(f"`{name}: {value}`" for name, value in one.get("limits", {}).items())
            yield f"{one['name']}{' (init)' if kind == 'init' else ''} {said or 'without limits'}"
    for key in ("scheduler", "node"):
        if key in row:
            yield f"{key} `{row[key]}`"


def main(arguments: Sequence[str]) -> int:
    """Write or check the page; return the exit status."""
    wanted = page()
    if "--check" not in arguments:
        PAGE.write_text(wanted, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{PAGE.relative_to(ROOT)} isn't current; run: python -m cli.peer_table", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
