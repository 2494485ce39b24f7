"""Keeps each container's usage file to its size on the node's disk, and open to all programs of its container.

A container may make its file longer, and no file system prevents that. The kernel says when a call changes a file's
size or attributes (inotify(7)), and the file is cut back at once. What libvgpu writes goes through a mapping, of which
nothing is said, so that an honest container costs nothing here. Every few seconds all files are looked at, for events
that were lost and files that can't be watched.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection

from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.store.container_store import ContainerStore
from unigpu import grants, logs
from unigpu.grants import Grant
from unigpu_node import folder_watch
from unigpu_node.containers import Key
from unigpu_node.folder_watch import FolderWatch

logger = logging.getLogger(__name__)

PAUSE, SHARE = 0.01, 0.02
"""Seconds between two rounds at least, and the part of a core that rounds may take: programs choose how often files
change."""
QUIET = 600.0
"""Seconds after an event about a container's file in which there is no other; each cut is counted."""

Told = Callable[[Grant, int], None]


class UsageGuard:
    """Watches the files of all containers with a grant."""

    def __init__(
        self,
        containers: ContainerStore,
        known: GrantLedger,
        told: Told,
        counted: Callable[[], None],
        watch: FolderWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told`: says what was cut back, once in a while; `counted`: counts each time."""
        self._containers, self._grants, self._told, self._counted = containers, known, told, counted
        self._watch = watch if watch is not None else FolderWatch(mask=folder_watch.CALLS)
        self._clock = clock
        self._awake = asyncio.Event()
        self._armed: set[Key] = set()
        """Containers whose files are watched, or can't be."""
        self._last: dict[Key, float] = {}
        """When each container last had an event."""
        self._kept: frozenset[str] = frozenset()
        """Files of removed containers that the log has."""

    async def run(self, interval: float) -> None:
        """Keep the files to their size. Never returns. `interval`: seconds between two looks at all of them."""
        due = 0.0
        with contextlib.closing(self._watch):
            while True:
                whole = self._clock() >= due
                if whole:
                    due = self._clock() + interval
                spent = await self.round(whole=whole)
                await asyncio.sleep(max(PAUSE, spent / SHARE))
                await self._changed(max(due - self._clock(), 0.0))

    def wake(self) -> None:
        """Watch the files of containers that are new."""
        self._awake.set()

    async def round(self, *, whole: bool) -> float:
        """Mend the files that have changed, or all of them; return the seconds of a core that it took."""
        known = dict(self._grants.items())
        changed = self._watch.changed()
        keys = set(known) if whole or changed is None else {key for key in known if _name(key) in changed}
        keys |= set(known) - self._armed
        self._armed = set(known)
        self._last = {key: last for key, last in self._last.items() if key in known}
        given_back, spent = await asyncio.to_thread(self._mend, keys)
        for key, amount in given_back.items():
            self._say(key, known[key].grant, amount)
        if whole:
            self._say_kept(await asyncio.to_thread(self._containers.remnants.mend))
        return spent

    def _mend(self, keys: Collection[Key]) -> tuple[dict[Key, int], float]:
        began, given_back = time.thread_time(), {}
        for key in keys:
            # Watched first: what changes between is seen in the next round.
            self._watch.add(self._containers.of(*key) / grants.USAGE_FILE, _name(key))
        for key in self._containers.out_of_order(keys):
            amount = self._containers.mend_usage(*key)
            if amount:
                given_back[key] = amount
        return given_back, time.thread_time() - began

    def _say(self, key: Key, grant: Grant, amount: int) -> None:
        self._counted()
        now = self._clock()
        if now - self._last.get(key, -QUIET) >= QUIET:
            self._last[key] = now
            logs.event(logger, "usage file cut back", logging.WARNING, bytes=amount, **grant.log_fields)
            self._told(grant, amount)

    def _say_kept(self, found: dict[str, int]) -> None:
        for name, amount in found.items():
            if amount:
                self._counted()
            if name not in self._kept:
                logs.event(logger, "usage file of a removed container still open", logging.WARNING, file=name)
        self._kept = frozenset(found)

    async def _changed(self, limit: float) -> None:
        """Return when the kernel says that a file has changed, when `wake` was called, or when `limit` seconds are
        over."""
        loop, watched = asyncio.get_running_loop(), self._watch.descriptor
        if watched >= 0:
            loop.add_reader(watched, self._awake.set)
        try:
            async with asyncio.timeout(limit):
                await self._awake.wait()
        except TimeoutError:
            pass
        finally:
            if watched >= 0:
                loop.remove_reader(watched)
            self._awake.clear()


def _name(key: Key) -> str:
    return "/".join(key)
