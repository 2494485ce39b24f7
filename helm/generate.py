"""Generate what the chart takes from the rest of the project: `python helm/generate.py [--check]`.

    Chart.yaml                          pyproject.toml → version and appVersion; icon.svg → icon
    unigpu/version.py                   pyproject.toml → the version that programs print
    docs/install.md                     pyproject.toml → the tags of unigpu's images
    templates/webhook/_conditions.tpl   the webhook's dialects → which pods the API server sends to it
    templates/_vendor_resources.tpl     unigpu.vendor_resources → what the kube-scheduler leaves to the extender
    docs/reference/chart.md             values.schema.json and values.yaml → the reference of values

With --check nothing is written; the exit status is 1 if a file isn't current.
"""

import argparse
import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helm import generated  # noqa: E402
from unigpu import names, vendor_resources  # noqa: E402
from webhook.admission import configuration  # noqa: E402

CHART = ROOT / "helm" / "unigpu"
SCHEMA = CHART / "values.schema.json"
VALUES = CHART / "values.yaml"
CONDITIONS = CHART / "templates" / "webhook" / "_conditions.tpl"
VENDOR_RESOURCES = CHART / "templates" / "_vendor_resources.tpl"
REFERENCE = ROOT / "docs" / "reference" / "chart.md"
METADATA = CHART / "Chart.yaml"
ICON = CHART / "icon.svg"
INSTALL = ROOT / "docs" / "install.md"
PROJECT = ROOT / "pyproject.toml"
CODE = ROOT / "unigpu" / "version.py"

_VERSION = re.compile(r"\d+\.\d+\.\d+")
"""Python's packages and Helm agree on no other form."""

_ADDED = "ADDED-RESOURCES"
"""Placeholder in expressions for the resource names that values add."""
_NAMESPACE = "RELEASE-NAMESPACE"
"""Placeholder in expressions for the namespace of the release."""
_ACCOUNT = '{{ include "unigpu.serviceAccountName" (dict "values" .Values.scheduler "component" "scheduler") }}'
"""The scheduler's service account, whose name is a value."""
_REFERENCE_HEAD = """\
# Values of the chart

Generated from `helm/unigpu/values.schema.json` by `make chart`; edit that file instead. A value that isn't listed is
refused when the chart is installed.
"""


def version(project: str) -> str:
    """Return the project's version from the text of pyproject.toml. Raises ValueError unless it is X.Y.Z."""
    found = str(tomllib.loads(project)["project"]["version"])
    if not _VERSION.fullmatch(found):
        raise ValueError(f"project.version = {found}: not a version of both Python and Helm; accepted: X.Y.Z")
    return found


def metadata(text: str, current: str) -> str:
    """Return Chart.yaml with the version in both of its fields, and the icon itself, since no site of ours has it."""
    icon = "data:image/svg+xml;base64," + base64.b64encode(ICON.read_bytes()).decode()
    text = re.sub(r"^(version|appVersion):.*$", rf"\1: {current}", text, flags=re.MULTILINE)
    return re.sub(r"^icon:.*$", f"icon: {icon}", text, flags=re.MULTILINE)


def code(text: str, current: str) -> str:
    """Return the module with the version as its value."""
    return re.sub(rf'"{_VERSION.pattern}"', f'"{current}"', text)


def install(text: str, current: str) -> str:
    """Return the page with the version as tag of unigpu's own images."""
    return re.sub(rf"(/unigpu(?:-probe)?):{_VERSION.pattern}", rf"\1:{current}", text)


def conditions() -> str:
    """Return the webhook's CEL expressions as named templates."""
    expressions = {
        "mentionsGpu": configuration.mentions_gpu(_ADDED),
        "seemsToAsk": configuration.seems_to_ask(_ADDED),
        "appliedAgain": configuration.applied_again(),
        "changesOurs": configuration.protected(),
        "changesWithoutEffect": configuration.changes_without_effect(),
        "boundByOthers": configuration.bound_by_others(_NAMESPACE),
    }
    parts = ["{{/* Generated from the webhook's dialects by `make chart`. */}}"]
    for name, expression in expressions.items():
        if "{{" in expression:
            raise ValueError(f"the expression {name} would be taken for a template: {expression}")
        body = expression.replace(f"{_NAMESPACE}:{names.ACCOUNT_SCHEDULER}", f"{_NAMESPACE}:{_ACCOUNT}")
        body = body.replace(_NAMESPACE, "{{ .Release.Namespace }}")
        body = body.replace(_ADDED, '{{ include "unigpu.dialects.addedInList" . }}')
        parts.append(f'{{{{- define "unigpu.webhook.{name}" -}}}}\n{body}\n{{{{- end }}}}')
    return "\n\n".join(parts) + "\n"


def resources() -> str:
    """Return the vendors' resources as a named template."""
    names_ = "\n".join(f"- {name}" for name in vendor_resources.RESOURCES)
    head = (
        "{{/* Generated from unigpu/vendor_resources.py by `make chart`: every vendor's resource, as a YAML list. */}}"
    )
    return f'{head}\n{{{{- define "unigpu.dialects.known" -}}}}\n{names_}\n{{{{- end }}}}\n'


def reference(schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return the reference: one section for each top-level value, one row for each value below it."""
    sections = [_REFERENCE_HEAD]
    for name, part in schema["properties"].items():
        lines = [f"## {name}", "", part["description"], "", "| value | default | meaning |", "|---|---|---|"]
        for path, leaf, default in _leaves(name, part, defaults[name]):
            lines.append(f"| `{path}` | `{json.dumps(default)}` | {_meaning(leaf)} |")
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _leaves(path: str, schema: Mapping[str, Any], default: Any) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    if "properties" not in schema:
        yield path, schema, default
        return
    for name, part in schema["properties"].items():
        yield from _leaves(f"{path}.{name}", part, default[name])


def _meaning(schema: Mapping[str, Any]) -> str:
    text = str(schema["description"])
    if "enum" in schema:
        text += " One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
    if "maximum" in schema:
        text += f" {schema['minimum']} to {schema['maximum']}."
    return text.replace("|", "\\|")


def main() -> int:
    """Write the files, or check them. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Generate the parts of the chart that come from the rest of the project."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file isn't current")
    check = parser.parse_args().check
    number = version(PROJECT.read_text())
    current = {
        METADATA: metadata(METADATA.read_text(), number),
        CODE: code(CODE.read_text(), number),
        INSTALL: install(INSTALL.read_text(), number),
        CONDITIONS: conditions(),
        VENDOR_RESOURCES: resources(),
        REFERENCE: reference(json.loads(SCHEMA.read_text()), yaml.safe_load(VALUES.read_text())),
    }
    return generated.update(current, ROOT, check=check)


if __name__ == "__main__":
    raise SystemExit(main())
