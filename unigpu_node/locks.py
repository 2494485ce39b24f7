"""Which of a container's processes live: the kernel knows, by the lock that each holds on its byte of the usage file.

It works across pid namespaces, where process numbers say nothing. A container can hold as many locks on its file as it
likes, and the kernel goes through all of them for each question. So the number of questions is bounded, and a lock that
libvgpu doesn't take ends the search. Source: fcntl(2), F_GETLK.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from unigpu import usage, wishes

_FLOCK = struct.Struct("hhqqi0q")
"""The C library's `struct flock`: type, whence, start, length, pid."""
_FREE = struct.Struct("h").pack(fcntl.F_UNLCK)
_END = 0
"""As a length: up to the end, however long the file gets."""


@lru_cache(4096)
def _question(start: int, count: int) -> bytes:
    """Who would be in the way of a write lock on these bytes?"""
    return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, count, 0)


def held(descriptor: int, slot: int, count: int = 1) -> bool:
    """Return whether a process holds the lock of any of these slots of an open usage file. Raises OSError."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLK, _question(usage.LOCKS_OFFSET + slot, count))[: len(_FREE)] != _FREE


def questions(slots: Iterable[int]) -> tuple[bytes, ...]:
    """Return what `all_held` has to be told of these slots."""
    return tuple(_question(usage.LOCKS_OFFSET + slot, 1) for slot in slots)


def all_held(descriptor: int, asked: Sequence[bytes]) -> bool:
    """Return whether the lock of every slot is held that these questions are about. Raises OSError."""
    for question in asked:  # noqa: SIM110 a thousand times a scrape: a generator takes twice as long
        if fcntl.fcntl(descriptor, fcntl.F_GETLK, question)[0] == fcntl.F_UNLCK:
            return False
    return True


def holders(descriptor: int) -> frozenset[int]:
    """Return the pids that hold the lock of a slot of an open usage file, as this process's pid namespace has them.

    0 stands for processes that aren't in it. The kernel names one lock of a range at a time; the rest of the range on
    both sides is asked for next. The search ends after as many questions as libvgpu's locks can need: a container that
    takes more of them hides only its own processes. Raises OSError.
    """
    found: set[int] = set()
    ranges = [(usage.LOCKS_OFFSET, usage.LOCKS_OFFSET + usage.SLOT_COUNT)]
    questions = 2 * usage.MAX_PROCESSES + 1
    while ranges and questions:
        questions -= 1
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


def living(descriptor: int) -> frozenset[int]:
    """Return the slots whose processes live, by three questions and two for each of them. One more lock, behind those
    of the slots, is a waiting program's (`unigpu.wishes`).

    Raises OSError; usage.Implausible for locks that libvgpu doesn't take, or more than it can have taken.
    """
    after = usage.LOCKS_OFFSET + usage.SLOT_COUNT
    for start, count in ((0, usage.LOCKS_OFFSET), (usage.LOCKS_OFFSET + wishes.WISH_LOCK + 1, _END)):
        if not _ask(descriptor, start, count).startswith(_FREE):
            raise usage.Implausible("usage file has locks outside its slots")
    found = set()
    ranges = [(usage.LOCKS_OFFSET, after)]
    while ranges:
        start, end = ranges.pop()
        answer = _ask(descriptor, start, end - start)
        if answer.startswith(_FREE):
            continue
        kind, _, first, length, _ = _FLOCK.unpack(answer)
        if kind != fcntl.F_WRLCK or length != 1:
            raise usage.Implausible("usage file has locks other than one for each slot")
        found.add(first - usage.LOCKS_OFFSET)
        if len(found) > usage.MAX_PROCESSES:
            raise usage.Implausible(f"usage file has more than {usage.MAX_PROCESSES} living processes")
        ranges += [(low, high) for low, high in ((start, first), (first + 1, end)) if low < high]
    return frozenset(found)


def _ask(descriptor: int, start: int, count: int) -> bytes:
    return fcntl.fcntl(descriptor, fcntl.F_GETLK, _question(start, count))
