"""Write OCI image layouts: a folder of blobs named by their digests, and an index. See the OCI image specification."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from release import archive

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REFERENCE = "org.opencontainers.image.ref.name"
Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What a container of the image starts with."""

    command: Sequence[str]
    environment: Sequence[str]
    """`NAME=value`."""
    user: str
    """`uid:gid`."""
    labels: Mapping[str, str]


class Layout:
    """An OCI layout that is being written."""

    def __init__(self, folder: pathlib.Path, epoch: int) -> None:
        """Begin a layout in a new folder; `epoch` is the time of its images, in seconds."""
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._created = datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}\n', encoding="utf-8")

    def image(self, architecture: str, layers: Sequence[tuple[pathlib.Path, str]], settings: Settings) -> Json:
        """Add an image of tar files, each with the words of its history; return its descriptor."""
        descriptors, contents = [], []
        for layer, _ in layers:
            packed = layer.with_name(f"{layer.name}.gz")
            archive.compress(layer, packed)
            descriptors.append(self._take(packed, LAYER))
            with layer.open("rb") as stream:
                contents.append(f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}")
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": self._created,
            "config": {
                "Cmd": list(settings.command),
                "Env": list(settings.environment),
                "User": settings.user,
                "Labels": dict(settings.labels),
            },
            "rootfs": {"type": "layers", "diff_ids": contents},
            "history": [{"created": self._created, "created_by": words} for _, words in layers],
        }
        manifest = self.manifest(self.blob(_text(config), CONFIG), descriptors)
        return {**manifest, "platform": {"architecture": architecture, "os": "linux"}}

    def manifest(self, config: Json, layers: Sequence[Json], annotations: Json | None = None) -> Json:
        """Add a manifest; return its descriptor."""
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)}
        if annotations:
            document["annotations"] = dict(annotations)
        return self.blob(_text(document), MANIFEST)

    def blob(self, content: bytes, media_type: str) -> Json:
        """Add a blob; return its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self._blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def close(self, name: str, manifests: Sequence[Json]) -> None:
        """Write the index: one name for a manifest, or for the same image of several processors."""
        if len(manifests) == 1:
            named = manifests[0]
        else:
            named = self.blob(_text({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}), INDEX)
        top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**named, "annotations": {REFERENCE: name}}]}
        (self.folder / "index.json").write_bytes(_text(top))

    def _take(self, file: pathlib.Path, media_type: str) -> Json:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = file.stat().st_size
        file.replace(self._blobs / digest)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _text(document: Json) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
