"""An OCI layout: every descriptor leads to a blob of that digest and size."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from release import archive, oci


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Write a layout of an image for two processors."""
    made = oci.Layout(tmp_path / "layout", 1_700_000_000)
    settings = oci.Settings(["python"], ["A=1"], "65532:65532", {"title": "unigpu"})
    images = []
    for architecture in ("amd64", "arm64"):
        content = tmp_path / architecture
        content.mkdir()
        (content / "file").write_text(architecture)
        archive.tar(tmp_path / f"{architecture}.tar", [(content, "opt")], 1_700_000_000)
        images.append(made.image(architecture, [(tmp_path / f"{architecture}.tar", "a file")], settings))
    made.close("1.2.3", images)
    return tmp_path / "layout"


def read(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """Return the blob of a descriptor, and check that it is the one meant."""
    content = (layout / "blobs" / str(descriptor["digest"]).replace(":", "/")).read_bytes()
    assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    assert len(content) == descriptor["size"]
    return content


def test_the_name_leads_to_an_image_of_each_processor(layout: Path) -> None:
    (top,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert top["annotations"] == {"org.opencontainers.image.ref.name": "1.2.3"}
    images = json.loads(read(layout, top))["manifests"]
    assert [one["platform"]["architecture"] for one in images] == ["amd64", "arm64"]
    for one in images:
        manifest = json.loads(read(layout, one))
        config = json.loads(read(layout, manifest["config"]))
        assert config["architecture"] == one["platform"]["architecture"]
        assert config["created"] == "2023-11-14T22:13:20Z"
        (layer,) = manifest["layers"]
        unpacked = gzip.decompress(read(layout, layer))
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"]
        assert one["platform"]["architecture"].encode() in unpacked


def test_no_other_blob_is_left(layout: Path) -> None:
    (top,) = json.loads((layout / "index.json").read_text())["manifests"]
    expected = 1 + 2 * 3  # the index; a manifest, a configuration and a layer each
    assert len(list((layout / "blobs" / "sha256").iterdir())) == expected, top
