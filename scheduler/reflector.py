"""Keeps a copy of one kind of objects current: list, then watch, and list again only where the watch can't go on."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler import kube
from unigpu import errors, logs

logger = logging.getLogger(__name__)

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries while the API server doesn't answer; the last one repeats."""

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Source:
    """What is listed and watched."""

    path: str
    selector: str = ""
    """Field selector."""
    page: int = 500
    watch_seconds: int = 240
    watch_silence: float = 90.0


@dataclass(frozen=True, slots=True)
class Sink(Generic[Facts]):
    """Who is told. Calls come from one task, in the order in which things happened."""

    read: Callable[[kube.Json], Facts]
    listed: Callable[[Sequence[Facts]], None]
    changed: Callable[[Facts], None]
    gone: Callable[[Facts], None]


class Reflector(Generic[Facts]):
    """One kind of objects."""

    def __init__(self, api: kube.Kube, source: Source, sink: Sink[Facts]) -> None:
        self._api = api
        self._source = source
        self._sink = sink
        self._failures = 0
        self._version = ""
        self.synced = asyncio.Event()
        """Set once all objects have been listed."""
        self.lists = 0
        """How many times all objects were listed."""

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                await asyncio.sleep(PAUSES[0])
            except kube.Expired as error:
                logs.event(logger, "watch expired", path=self._source.path, reason=error)
                self._version = ""
                await asyncio.sleep(PAUSES[0])
            except (errors.Unavailable, kube.Rejected) as error:
                await self._pause(error)

    async def _list(self) -> None:
        source, more = self._source, ""
        found: list[Facts] = []
        for number in itertools.count():
            page = await self._api.page(source.path, source.selector, source.page, more)
            found += [self._sink.read(item) for item in page.items]
            more = page.more
            if not more:
                break
            if number % 8 == 7:
                await asyncio.sleep(0)
        self._sink.listed(found)
        self._answered()
        self.lists += 1
        self.synced.set()
        self._version = page.version
        logs.event(logger, "listed", path=source.path, objects=len(found), version=page.version)

    async def _watch(self) -> None:
        source, sink = self._source, self._sink
        async for event in self._api.watch(
            source.path, source.selector, self._version, source.watch_seconds, source.watch_silence
        ):
            self._answered()
            if event.kind in ("ADDED", "MODIFIED"):
                sink.changed(sink.read(event.document))
            elif event.kind == "DELETED":
                sink.gone(sink.read(event.document))
            self._version = event.version

    def _answered(self) -> None:
        if self._failures:
            logs.event(logger, "answers again", path=self._source.path, failures=self._failures)
        self._failures = 0

    async def _pause(self, error: errors.UnigpuError) -> None:
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        level = logging.WARNING if self._failures > 1 else logging.INFO
        logs.event(logger, "no answer", level, path=self._source.path, failures=self._failures, reason=error)
        await asyncio.sleep(pause)
