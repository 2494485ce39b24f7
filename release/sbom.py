"""List what is in a release, in CycloneDX's JSON form, version 1.6."""

from __future__ import annotations

import datetime
import json
import pathlib
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from release.images import Content
from release.source import Source


def write(source: Source, contents: Mapping[str, Content], file: pathlib.Path) -> None:
    """Write the list of all Debian and Python packages in the images, by processor."""
    components: dict[str, dict[str, Any]] = {}
    for content in contents.values():
        for component in _components(content):
            components[component["purl"]] = component
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, source.commit)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(source.epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": "unigpu",
                "name": "unigpu",
                "version": source.version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [components[purl] for purl in sorted(components)],
    }
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _components(content: Content) -> Iterator[dict[str, Any]]:
    for package in content.debian:
        version = urllib.parse.quote(package.version, safe="")
        name = urllib.parse.quote(package.name, safe="")
        purl = f"pkg:deb/debian/{name}@{version}?arch={package.architecture}"
        yield {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl}
    for name, version in content.python.items():
        purl = f"pkg:pypi/{name.lower()}@{version}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
