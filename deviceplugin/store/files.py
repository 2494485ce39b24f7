"""Says in words why files can't be written: in errors while writing, and in advance for readiness."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from unigpu import errors

SPARE = 1 << 20
"""Bytes that must be free in a folder before it counts as full."""


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
