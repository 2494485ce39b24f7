"""Which folders have had an entry come, go or be replaced, or which files have changed: the kernel's word for it, by
inotify(7).

A folder or file that can't be watched is no error: `add` says so, and its user looks into it each time.
"""

import contextlib
import ctypes
import os
import struct
from pathlib import Path

_EVENT = struct.Struct("iIII")
"""`struct inotify_event`: watch, mask, cookie, length of the name that follows."""
_OVERFLOW, _IGNORED = 0x4000, 0x8000
ENTRIES = 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x0100_0000
"""An entry is moved out, moved in, created, deleted; the folder itself is deleted or moved; only folders."""
CALLS = 0x2 | 0x4 | 0x8000_0000
"""A call changes a file's content, size or attributes; once, until the file is added again. The kernel tells nothing of
what a program writes into a file that it has mapped."""
_BUFFER = 1 << 16
MOST = 4096
"""Folders. All programs of a user share as few as 8,192 watches on older kernels, and the kubelet needs some."""

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Watches folders or files, each under a name of its user's choice; several may share a name."""

    def __init__(self, most: int = MOST, mask: int = ENTRIES) -> None:
        """`most`: how many are watched at once. `mask`: what counts as a change, ENTRIES or CALLS."""
        # -1: no instance is left, or there is no inotify. Then nothing can be watched, and `add` says so.
        self._descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._most, self._mask = most, mask
        self._watched: dict[int, tuple[str, str]] = {}
        """Name and folder, by the kernel's number."""
        self._numbers: dict[str, int] = {}
        """By folder."""

    @property
    def descriptor(self) -> int:
        """Readable when something has changed; negative where nothing can be watched."""
        return self._descriptor

    def close(self) -> None:
        """Watch nothing any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def add(self, folder: str | Path, name: str) -> bool:
        """Watch the folder from now on; return whether it can be watched. Again for the same folder changes its name.

        Call it before the folder is read: then no change falls between.
        """
        place = str(folder)
        if self._descriptor < 0 or (len(self._watched) >= self._most and place not in self._numbers):
            return False
        number: int = _libc.inotify_add_watch(self._descriptor, os.fsencode(place), self._mask)
        if number < 0:
            return False
        self._watched[number], self._numbers[place] = (name, place), number
        return True

    def changed(self) -> set[str] | None:
        """Return the names of the folders that changed since the last call; None: any may have, events were lost."""
        found: set[str] = set()
        lost = False
        while self._descriptor >= 0:
            with contextlib.suppress(InterruptedError):
                try:
                    events = os.read(self._descriptor, _BUFFER)
                except BlockingIOError:
                    break
                lost |= self._understand(events, found)
        return None if lost else found

    def _understand(self, events: bytes, found: set[str]) -> bool:
        """Add the names; return whether events were lost."""
        lost, place = False, 0
        while place < len(events):
            number, mask, _, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size + length
            lost |= bool(mask & _OVERFLOW)
            name, folder = self._watched.get(number, (None, ""))
            if name is not None:
                found.add(name)
            if mask & _IGNORED:  # the folder is gone
                self._watched.pop(number, None)
                if self._numbers.get(folder) == number:
                    del self._numbers[folder]
        return lost
