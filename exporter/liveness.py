"""Who of a container's processes lives: asked of the kernel, by the lock that each holds on its byte of the usage file.

It works across pid namespaces, where process numbers say nothing.
"""

import fcntl
import struct
from collections.abc import Callable
from functools import cache

from unigpu import usage

_FLOCK = struct.Struct("hhqqi0q")
"""The C library's `struct flock`: type, whence, start, length, pid."""
_TYPE = struct.Struct("h")
_FREE = _TYPE.pack(fcntl.F_UNLCK)
_SEEK_SET = 0


@cache
def _question(slot: int) -> bytes:
    """Who would be in the way of a write lock on the slot's byte?"""
    return _FLOCK.pack(fcntl.F_WRLCK, _SEEK_SET, usage.LOCKS_OFFSET + slot, 1, 0)


def holds(descriptor: int, slot: int) -> bool:
    """Whether a living process holds the slot's lock on this open usage file. Raises OSError."""
    return not fcntl.fcntl(descriptor, fcntl.F_GETLK, _question(slot)).startswith(_FREE)


def of(descriptor: int) -> Callable[[int], bool]:
    """The same, as `unigpu.usage.unpack` asks it."""
    return lambda slot: holds(descriptor, slot)
