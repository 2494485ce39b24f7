"""Files that are whole or not there: written under another name, then renamed."""

import contextlib
import os
from pathlib import Path


def write(
    path: Path, content: bytes, *, mode: int = 0o644, durable: bool = False, modified_ns: int | None = None
) -> None:
    """Put the content at `path`: readers find the old file or the new one, also if this process is killed.

    `durable`: also across a loss of power. `modified_ns`: its time of change, if not now. The temporary file lies
    in the same folder, with a name that no reader of that folder takes for its own. Raises OSError.
    """
    temporary = temporary_name(path)
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
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
    temporary.rename(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def temporary_name(path: Path) -> Path:
    """Return the name under which a file is written before it is renamed."""
    return path.with_name(f".{path.name}.tmp")
