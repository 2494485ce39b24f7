"""Pack the bundle for networks without a registry: images, chart, command line, and a program that loads them."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
from collections.abc import Iterable

from release import archive
from release.source import Source

IMAGES = ("unigpu", "unigpu-probe")
LOADER = "release/load.sh"

_README = """\
unigpu {version} for clusters without internet.

  ./load REGISTRY    push the images into your registry
  ./load --node      or import them into each node's containerd

Both print the command that installs the chart unigpu-{version}.tgz. The scheduler's second container is the stock
kube-scheduler of your cluster's version: its image must be in your registry too.

The command line: pip install --no-index --find-links wheels kubectl-unigpu, with its dependencies from your own index.
"""


def pack(source: Source, output: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """Write `unigpu-VERSION-bundle.tar` from what is in the output folder; return its path."""
    name = f"unigpu-{source.version}-bundle"
    folder = scratch / name
    (folder / "wheels").mkdir(parents=True)
    for image in IMAGES:
        archive.tar(folder / f"{image}.oci.tar", [(output / image, "")], source.epoch)
    chart = f"unigpu-{source.version}.tgz"
    shutil.copyfile(output / chart, folder / chart)
    for wheel in output.glob("*.whl"):
        shutil.copyfile(wheel, folder / "wheels" / wheel.name)
    (folder / "VERSION").write_text(f"{source.version}\n", encoding="utf-8")
    (folder / "README").write_text(_README.format(version=source.version), encoding="utf-8")
    shutil.copyfile(source.folder / LOADER, folder / "load")
    (folder / "load").chmod(0o755)
    checksums(folder)
    file = output / f"{name}.tar"
    archive.tar(file, [(folder, name)], source.epoch)
    return file


def checksums(folder: pathlib.Path) -> pathlib.Path:
    """Write SHA256SUMS of all files below a folder, as `sha256sum --check` reads it; return its path."""
    listing = folder / "SHA256SUMS"
    listing.unlink(missing_ok=True)
    lines = [f"{_digest(path)}  {path.relative_to(folder)}\n" for path in _files(folder)]
    listing.write_text("".join(lines), encoding="utf-8")
    return listing


def _files(folder: pathlib.Path) -> Iterable[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(file: pathlib.Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
