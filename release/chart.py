"""Package the chart: as the archive that `helm install` takes, and as an OCI layout for registries."""

from __future__ import annotations

import json
import pathlib

import yaml

from release import archive, oci
from release.source import Source

CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def package(source: Source, into: pathlib.Path) -> pathlib.Path:
    """Write `unigpu-VERSION.tgz` and the layout `unigpu-chart`; return the archive's path.

    `helm package` isn't used, because it writes the time of the build into the archive.
    """
    chart = source.folder / "helm" / "unigpu"
    file = into / f"unigpu-{source.version}.tgz"
    archive.tar_gz(file, [(chart, "unigpu")], source.epoch)
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    layout = oci.Layout(into / "unigpu-chart", source.epoch)
    config = layout.blob(json.dumps(metadata, sort_keys=True).encode(), CONFIG)
    content = layout.blob(file.read_bytes(), CONTENT)
    layout.close(source.version, [layout.manifest(config, [content])])
    return file
