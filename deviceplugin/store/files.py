"""Files that are whole or absent: written under another name in the same folder, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from unigpu import errors

SPARE = 1 << 20
"""Bytes that must be free in a folder before it counts as full."""


def write(
    path: Path, content: bytes, *, mode: int = 0o644, durable: bool = False, modified_ns: int | None = None
) -> None:
    """Replace the file at `path` in one step that no reader sees in part, and that survives being killed.

    `durable`: it survives a loss of power too. `modified_ns`: its modification time, if not now. The temporary file's
    name is one that no reader of the folder takes for its own. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
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
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # a full disk must not stay full of halves
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def reporting(verb: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the block into Unavailable: "can't write PATH: No space left on device"."""
    try:
        yield
    except OSError as error:
        raise errors.Unavailable(f"can't {verb} {path}: {error.strerror or error}") from error


def unwritable(folder: Path) -> str | None:
    """Return why files can't be written into the folder, None where they can. Writes nothing.

    A folder that doesn't exist yet is judged by its nearest parent that does.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        if not there.is_dir():
            return f"can't write {folder}: {there} is not a folder"
        space = os.statvfs(there)
        if space.f_flag & os.ST_RDONLY:
            return f"can't write {folder}: Read-only file system"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"can't write {folder}: Permission denied"
    except OSError as error:
        return f"can't write {folder}: {error.strerror}"
    if space.f_blocks and space.f_bavail * space.f_frsize < SPARE:
        return f"can't write {folder}: less than {SPARE >> 20} MiB is free on its file system"
    if space.f_files and not space.f_favail:
        return f"can't write {folder}: no inode is free on its file system"
    return None
