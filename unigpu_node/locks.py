"""Which of a container's processes live: the kernel knows, by the lock that each holds on its byte of the usage file.

It works across pid namespaces, where process numbers say nothing. Source: fcntl(2), F_GETLK.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from functools import cache

from unigpu import usage

_FLOCK = struct.Struct("hhqqi0q")
"""The C library's `struct flock`: type, whence, start, length, pid."""
_FREE = struct.Struct("h").pack(fcntl.F_UNLCK)


@cache
def _question(slot: int, count: int) -> bytes:
    """Who would be in the way of a write lock on these slots' bytes?"""
    return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, usage.LOCKS_OFFSET + slot, count, 0)


def held(descriptor: int, slot: int, count: int = 1) -> bool:
    """Return whether a living process holds the lock of any of these slots of an open usage file. Raises OSError."""
    return not fcntl.fcntl(descriptor, fcntl.F_GETLK, _question(slot, count)).startswith(_FREE)


def holders(descriptor: int) -> frozenset[int]:
    """Return the pids that hold the lock of a slot of an open usage file, as this process's pid namespace has them.

    0 stands for processes that aren't in it. The kernel names one lock of a range at a time; the rest of the range on
    both sides is asked for next. Raises OSError.
    """
    found: set[int] = set()
    ranges = [(usage.LOCKS_OFFSET, usage.LOCKS_OFFSET + usage.SLOT_COUNT)]
    while ranges:
        start, end = ranges.pop()
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0))
        kind, _, first, length, pid = _FLOCK.unpack(answer)
        if kind == fcntl.F_UNLCK:
            continue
        found.add(pid)
        last = first + length if length else end
        ranges += [(low, high) for low, high in ((start, first), (last, end)) if low < high]
    return frozenset(found)


def any_held(descriptor: int) -> bool:
    """Return whether any process of the container lives that uses its GPUs. Raises OSError."""
    return held(descriptor, 0, usage.SLOT_COUNT)


def alive(descriptor: int) -> Callable[[int], bool]:
    """Return `held` for one slot of this file, as `unigpu.usage.unpack` wants it."""
    return lambda slot: held(descriptor, slot)
