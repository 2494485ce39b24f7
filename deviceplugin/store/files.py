"""Files that are whole or not there: written beside their place, then renamed into it."""

import contextlib
import os
from pathlib import Path


def write(
    path: Path, content: bytes, *, mode: int = 0o644, durable: bool = False, modified_ns: int | None = None
) -> None:
    """Put the content at `path` at once, whoever looks or kills us meanwhile; `durable`: also across a loss of power.
    `modified_ns`: what its time of change is to be, if not now.

    The temporary file lies in the same folder, with a name that no reader of that folder takes for its own.
    """
    beside = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if modified_ns is not None:
            os.utime(descriptor, ns=(modified_ns, modified_ns))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
