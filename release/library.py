"""Package libvgpu alone, for machines without Kubernetes: a tar file and a Debian package for each processor."""

from __future__ import annotations

import pathlib
import shutil

from release import archive
from release.native import MACHINES, Built
from release.run import require, run
from release.source import Source

_CONTROL = """\
Package: unigpu-libvgpu
Version: {version}
Architecture: {architecture}
Maintainer: unigpu contributors <unigpu@example.invalid>
Section: admin
Priority: optional
Depends: libc6 (>= {glibc})
Installed-Size: {kilobytes}
Description: hold a program to a part of a GPU's memory and compute time
 libvgpu is preloaded into a program, and limits how much memory and compute
 time of an NVIDIA GPU the program and its children use.
"""


def tarball(source: Source, built: Built, architecture: str, into: pathlib.Path) -> None:
    """Write the library, its description and its licence into a tar file."""
    name = f"libvgpu-{source.version}-linux-{architecture}"
    files = [
        (built.libvgpu, f"{name}/libvgpu.so"),
        (source.folder / "docs" / "reference" / "libvgpu.md", f"{name}/README.md"),
        (source.folder / "LICENSE", f"{name}/LICENSE"),
    ]
    archive.tar_gz(into / f"{name}.tar.gz", files, source.epoch)


def debian(source: Source, built: Built, architecture: str, scratch: pathlib.Path, into: pathlib.Path) -> None:
    """Build the Debian package `unigpu-libvgpu`: the library, and its description under /usr/share/doc."""
    require("dpkg-deb")
    root = scratch / f"deb-{architecture}"
    folder = root / "usr" / "lib" / f"{MACHINES[architecture]}-linux-gnu" / "unigpu"
    documents = root / "usr" / "share" / "doc" / "unigpu-libvgpu"
    for made in (folder, documents, root / "DEBIAN"):
        made.mkdir(parents=True)
    shutil.copyfile(built.libvgpu, folder / "libvgpu.so")
    shutil.copyfile(source.folder / "docs" / "reference" / "libvgpu.md", documents / "README.md")
    shutil.copyfile(source.folder / "LICENSE", documents / "copyright")
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    glibc = ".".join(map(str, built.glibc))
    control = _CONTROL.format(version=source.version, architecture=architecture, glibc=glibc, kilobytes=size)
    (root / "DEBIAN" / "control").write_text(control, encoding="utf-8")
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    file = into / f"unigpu-libvgpu_{source.version}_{architecture}.deb"
    environment = {"SOURCE_DATE_EPOCH": str(source.epoch)}
    run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(file)], scratch, environment)
