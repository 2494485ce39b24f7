"""Installs libvgpu on the node: a copy of the image's library, named after the hash of its content.

An update therefore never changes a library that a running container has mapped.
"""

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from deviceplugin.store import files
from unigpu import cdi, errors, names
from unigpu_node import files as node_files

_ANCHOR = "anchor"
_COPY = re.compile(r"libvgpu-[0-9a-f]{16}\.so")


@dataclass(frozen=True, slots=True)
class InstalledLibvgpu:
    """Files on the node that are mounted into containers."""

    library: Path
    preload: Path
    """The `ld.so.preload` that names it."""
    anchor: Path
    """The folder over which a container's files are mounted; see `unigpu.cdi`."""


def install(image: Path, folder: Path, in_use: str = "") -> InstalledLibvgpu:
    """Copy the image's library to the node, unless it is there, and remove earlier copies that `in_use` doesn't name.

    A running container keeps its copy: a mounted file outlives its name. A container that is being created may still
    look for the copy that the CDI spec names, which `in_use` is the text of. Raises Unavailable.
    """
    try:
        content = image.read_bytes()
    except OSError as error:
        raise errors.Unavailable(
            f"can't read libvgpu at {image}: {error.strerror}; --library names its path"
        ) from error
    library = folder / f"libvgpu-{hashlib.sha256(content).hexdigest()[:16]}.so"
    preload = folder / Path(names.CONTAINER_PRELOAD).name
    with files.reporting("write", library):
        folder.mkdir(parents=True, exist_ok=True)
        if not library.exists() or library.read_bytes() != content:
            node_files.write(library, content, mode=0o755, durable=True)
    listed = f"{names.CONTAINER_LIBRARY}\n".encode()
    with files.reporting("write", preload):
        if not preload.exists() or preload.read_bytes() != listed:
            node_files.write(preload, listed, durable=True)
    anchor = folder / _ANCHOR
    with files.reporting("create", anchor):
        anchor.mkdir(exist_ok=True)
        for path in cdi.ANCHORED:
            if not (anchor / Path(path).name).exists():
                (anchor / Path(path).name).touch()
    for other in folder.iterdir():
        if _COPY.fullmatch(other.name) and other != library and other.name not in in_use:
            with contextlib.suppress(OSError):
                other.unlink()
    return InstalledLibvgpu(library, preload, anchor)
