"""Reads containers' wishes for higher limits: many times a second which are new, and only those in full."""

import os
from collections.abc import Mapping
from pathlib import Path

from deviceplugin.store.usage_heads import REOPEN_NS, UsageHeads
from unigpu import grants, wishes
from unigpu.wishes import Wish
from unigpu_node import usage_file
from unigpu_node.containers import Key

__all__ = ["REOPEN_NS", "WishReader"]

_NONE = bytes(8)
"""In place of a wish's number, where there is none."""
_NUMBER = wishes.WISH_OFFSET, wishes.WISH_OFFSET + len(_NONE)


class WishReader:
    """The numbers of all wishes, and of the last that was seen of each container."""

    def __init__(self) -> None:
        self._heads = UsageHeads(lambda gpus: _NUMBER)
        self._seen: dict[Key, int] = {}
        self._unread: set[Key] = set()
        """Containers whose wish has to be read."""
        self._containers: Mapping[Key, tuple[Path, int]] = {}

    def check(self) -> None:
        """Take in that the agent has written containers' files."""
        self._heads.check()

    def idle(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> bool:
        """Return whether there is nothing to read. It opens no file, and costs little even with many containers.

        `containers`: each with its folder and its number of GPUs. Others than the last time are another object.
        """
        if self._unread or not self._heads.settled(containers, now_ns):
            return False
        self._look(containers, now_ns)
        return not self._unread

    def read(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> dict[Key, Wish]:
        """Return the wishes that are new. `containers`: see `idle`."""
        if containers is not self._containers:
            self._containers = containers
            self._seen = {key: number for key, number in self._seen.items() if key in containers}
            self._unread &= containers.keys()
        self._look(containers, now_ns)
        found = {}
        unread, self._unread = self._unread, set()
        for key in unread:
            folder, gpus = containers[key]
            wish = self._one(key, folder, gpus)
            if wish is not None:
                self._seen[key] = wish.number
                found[key] = wish
        return found

    def close(self) -> None:
        """Close all files."""
        self._heads.close()

    def _look(self, containers: Mapping[Key, tuple[Path, int]], now_ns: int) -> None:
        self._unread |= {key for key, part in self._heads.changed(containers, now_ns).items() if part != _NONE}

    def _one(self, key: Key, folder: Path, gpus: int) -> Wish | None:
        """A container's wish, if it is new."""
        try:
            descriptor = usage_file.open_for_reading(f"{folder}/{grants.USAGE_FILE}")
        except OSError:
            return None  # a file that isn't there is looked for again anyway
        try:
            content = os.pread(descriptor, wishes.WISH_SIZE, wishes.WISH_OFFSET)
            wish = wishes.unpack(content, gpus)
            if wish is None or wish.number == self._seen.get(key):
                return None
            if content == os.pread(descriptor, wishes.WISH_SIZE, wishes.WISH_OFFSET):
                return wish
            # A program was writing it while it was read.
            self._unread.add(key)
        except OSError:
            pass
        finally:
            os.close(descriptor)
        return None
