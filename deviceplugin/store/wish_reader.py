"""Reads containers' wishes for higher limits, many times a second: each usage file stays open."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from unigpu import grants, wishes
from unigpu.wishes import Wish
from unigpu_node import usage_file
from unigpu_node.containers import Key

REOPEN_NS = 5_000_000_000
"""Time between two checks that the open files are still those in the folders."""
_NONE = bytes(8)
"""In place of a wish's number, where there is none."""


class WishReader:
    """The open usage files, and the number of the last wish that was seen in each."""

    def __init__(self) -> None:
        self._open: dict[Key, int] = {}
        self._seen: dict[Key, int] = {}
        self._reopened_ns = 0
        self._containers: Mapping[Key, tuple[Path, int]] = {}

    def read(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> dict[Key, Wish]:
        """Return the wishes that are new.

        `containers`: each with its folder and its number of GPUs. Others than the last time are another object.
        """
        if now_ns - self._reopened_ns > REOPEN_NS:
            self._reopened_ns = now_ns
            self._close(list(self._open))
        if containers is not self._containers:
            self._containers = containers
            self._close([key for key in self._open if key not in containers])
            self._seen = {key: number for key, number in self._seen.items() if key in containers}
        found = {}
        for key, (folder, gpus) in containers.items():
            wish = self._one(key, folder, gpus)
            if wish is not None:
                self._seen[key] = wish.number
                found[key] = wish
        return found

    def close(self) -> None:
        """Close all files."""
        self._close(list(self._open))

    def _one(self, key: Key, folder: Path, gpus: int) -> Wish | None:
        """A container's wish, if it is new. Its number says so, which is all that is read of most files."""
        try:
            descriptor = self._open.get(key)
            if descriptor is None:
                descriptor = self._open[key] = usage_file.open_for_reading(folder / grants.USAGE_FILE)
            number = os.pread(descriptor, len(_NONE), wishes.WISH_OFFSET)
            if number == _NONE:
                return None
            content = os.pread(descriptor, wishes.WISH_SIZE, wishes.WISH_OFFSET)
            wish = wishes.unpack(content, gpus)
            if wish is None or wish.number == self._seen.get(key):
                return None
            # A program that was writing it while it was read is read again in the next round.
            return wish if content == os.pread(descriptor, wishes.WISH_SIZE, wishes.WISH_OFFSET) else None
        except OSError:
            return None

    def _close(self, keys: Iterable[Key]) -> None:
        for key in keys:
            with contextlib.suppress(OSError):
                os.close(self._open.pop(key))
