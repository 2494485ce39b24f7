"""libvgpu on the node: copied from the agent's image under a name of its content.

So an update never changes what a running container has mapped.
"""

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from deviceplugin.store import files
from unigpu import errors, names

_COPY = re.compile(r"libvgpu-[0-9a-f]{16}\.so")


@dataclass(frozen=True, slots=True)
class InstalledLibvgpu:
    """What is mounted into containers."""

    library: Path
    preload: Path
    """The `ld.so.preload` that names it."""


def install(image: Path, folder: Path, in_use: str = "") -> InstalledLibvgpu:
    """Copy the image's library to the node, where it isn't yet, and remove earlier ones that `in_use` doesn't name.

    A container that runs keeps the one that it has: a mounted file outlives its name. One that is being created may
    still look for that of the CDI spec that it found. Raises Unavailable.
    """
    try:
        content = image.read_bytes()
    except OSError as error:
        raise errors.Unavailable(
            f"libvgpu can't be read at {image}: {error.strerror}; --library says where it is"
        ) from error
    library = folder / f"libvgpu-{hashlib.sha256(content).hexdigest()[:16]}.so"
    preload = folder / Path(names.CONTAINER_PRELOAD).name
    folder.mkdir(parents=True, exist_ok=True)
    if not library.exists() or library.read_bytes() != content:
        files.write(library, content, mode=0o755, durable=True)
    files.write(preload, f"{names.CONTAINER_LIBRARY}\n".encode(), durable=True)
    for other in folder.iterdir():
        if _COPY.fullmatch(other.name) and other != library and other.name not in in_use:
            with contextlib.suppress(FileNotFoundError):
                other.unlink()
    return InstalledLibvgpu(library, preload)
