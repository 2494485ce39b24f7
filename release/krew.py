"""Package `kubectl unigpu` for krew, kubectl's plugin manager: an archive for every platform, and its manifest.

krew unpacks an archive and links one program; it knows no Python. So the archive has the wheel, and a program that
installs the wheel into an environment of its own when it is started for the first time.
"""

from __future__ import annotations

import hashlib
import pathlib

import yaml

from release import archive
from release.source import Source

LAUNCHER = "release/kubectl-unigpu.sh"
NAME = "unigpu"
"""Of the plugin; krew names its file after it."""
DOWNLOADS = "https://example.invalid/unigpu/releases/download"
"""Where a release's files are to be had: the project has no site yet. RELEASE.md says to replace it."""
_ABOUT = """\
Shows which container has which part of which GPU, what is free and what waits;
changes limits of running pods; and says what a manifest of any vendor becomes,
or why it is refused.
"""
_CAVEATS = """\
Needs Python 3.11 or later. The first start installs the plugin's packages from
the package index that pip is configured for, into ~/.cache/kubectl-unigpu.
"""


def pack(source: Source, wheel: pathlib.Path, scratch: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """Write the archive `kubectl-unigpu-VERSION.tar.gz` and the manifest `unigpu.yaml`; return the archive's path."""
    file = into / f"kubectl-unigpu-{source.version}.tar.gz"
    program = scratch / "krew" / "kubectl-unigpu"
    program.parent.mkdir()
    program.write_text(
        (source.folder / LAUNCHER).read_text(encoding="utf-8").replace("VERSION", source.version), encoding="utf-8"
    )
    program.chmod(0o755)
    content = [(program, "kubectl-unigpu"), (wheel, wheel.name), (source.folder / "LICENSE", "LICENSE")]
    archive.tar_gz(file, content, source.epoch)
    manifest = describe(source.version, hashlib.sha256(file.read_bytes()).hexdigest(), file.name)
    (into / f"{NAME}.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
    return file


def describe(version: str, digest: str, file: str) -> dict[str, object]:
    """Return the manifest, of the form krew.googlecontainertools.github.com/v1alpha2."""
    systems = {"key": "os", "operator": "In", "values": ["linux", "darwin"]}
    platform = {
        "selector": {"matchExpressions": [systems]},
        "uri": f"{DOWNLOADS}/v{version}/{file}",
        "sha256": digest,
        "bin": "kubectl-unigpu",
    }
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            "version": f"v{version}",
            "shortDescription": "Who has which part of which GPU, and limits of running pods",
            "description": _ABOUT,
            "caveats": _CAVEATS,
            "platforms": [platform],
        },
    }
