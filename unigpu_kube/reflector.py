"""Keeps a copy of one kind of objects current: list, then watch, and list again only where the watch can't go on.

One bad object costs that object only. Whatever reading it raises is logged once with the object's name, and the object
counts as absent until it changes into one that can be read. The watch goes on from the last version that was seen, also
after the API server was away. Sources: "Efficient detection of changes" in the Kubernetes API concepts, for bookmarks,
`410 Gone` and resuming by version.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from unigpu import errors, logs
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.backoff import Backoff
from unigpu_kube.client import Client, Json, Query
from unigpu_kube.objects import Ref

logger = logging.getLogger(__name__)

MOST_BAD = 1000
"""Objects that couldn't be read and are remembered, so that each is logged once."""
_TOO_NEW = 504
"""The API server answers a watch so where it doesn't know the version yet, as after a restored backup."""

T = TypeVar("T")
Answer = Awaitable[None] | None
"""Handlers may be plain or asynchronous functions."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is listed and watched."""

    path: str
    query: Query = field(default_factory=dict)
    """`fieldSelector`, `labelSelector`."""
    metadata_only: bool = False
    """Objects come without spec and status."""
    page: int = 500
    """Objects in one answer while listing: bounds memory, and how long reading one holds up everything else."""
    watch_seconds: int = 240
    """After which the API server ends a watch, which is then resumed."""
    silence: float = 90.0
    """Seconds without a byte after which a watch counts as dead. The API server sends a bookmark about every minute."""
    relist_seconds: float = float("inf")
    """After which everything is listed again, once a watch ends: mends what a watch may have missed."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All objects there are."""

    items: Sequence[T]
    """Those that could be read."""
    unreadable: frozenset[Ref]
    """Those that exist, and couldn't."""
    asked: float
    """When the first request was sent, seconds since the epoch: an object that is younger may be absent."""


@dataclass(frozen=True, slots=True)
class Sink(Generic[T]):
    """Who gets to know. Calls come from one task, in the order in which things happened."""

    parse: Callable[[Json], T]
    """Reads one object. Whatever it raises makes the object count as absent."""
    listed: Callable[[Listing[T]], Answer]
    """These are all objects."""
    changed: Callable[[T], Answer]
    """The object is new or has changed. If this raises Unavailable, the event comes again; if it raises anything else,
    the object counts as absent."""
    gone: Callable[[Ref], Answer]
    """The object is gone; it needn't have been known."""
    unreadable: Callable[[Ref], Answer] | None = None
    """The object exists and can't be read. None: as `gone`."""

    def absent(self, ref: Ref) -> Answer:
        """Report an object that can't be read."""
        return (self.unreadable or self.gone)(ref)


class Reflector(Generic[T]):
    """One kind of objects. Several share a client."""

    def __init__(self, client: Client, source: Source, sink: Sink[T]) -> None:
        self._client, self._source, self._sink = client, source, sink
        self._backoff = Backoff()
        self._version = ""
        self._listed_at = 0.0
        self._bad: dict[Ref, str] = {}
        self.synced = asyncio.Event()
        """Set once all objects have been listed."""
        self.lists = 0
        """How many times all objects were listed."""
        self.away = 0
        """How many requests in a row have failed; 0 while the API server answers."""

    async def run(self) -> None:
        """Keep the copy current. Never returns."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                if time.monotonic() - self._listed_at > self._source.relist_seconds:
                    self._version = ""
                await asyncio.sleep(0.1)  # bounds how often watches that end at once are begun again
            except kube_errors.Expired as error:
                logs.event(logger, "watch expired", path=self._source.path, reason=error)
                self._version = ""
                await self._backoff.pause()
            except (errors.Unavailable, kube_errors.Rejected) as error:
                if _needs_list(error):
                    self._version = ""
                await self._pause(error)

    async def _list(self) -> None:
        source = self._source
        asked = time.time()
        found: list[T] = []
        unreadable: set[Ref] = set()
        version = ""
        async for page in self._client.pages(
            source.path, source.query, limit=source.page, metadata_only=source.metadata_only
        ):
            for item in page.items:
                read = self._parse(item)
                if read is _ABSENT:
                    unreadable.add(objects.ref(item))
                else:
                    found.append(read)
            version = page.version
            await asyncio.sleep(0)
        self._bad = {ref: why for ref, why in self._bad.items() if ref in unreadable}
        await _let(self._sink.listed(Listing(found, frozenset(unreadable), asked)))
        self._answered()
        self.lists += 1
        self._version, self._listed_at = version, time.monotonic()
        self.synced.set()
        logs.event(logger, "synced", path=source.path, objects=len(found), unreadable=len(unreadable), version=version)

    async def _watch(self) -> None:
        source = self._source
        query = {**source.query, "resourceVersion": self._version, "timeoutSeconds": source.watch_seconds}
        events = self._client.watch(source.path, query, silence=source.silence, metadata_only=source.metadata_only)
        async with contextlib.aclosing(events):
            async for kind, document in events:
                self._answered()
                if kind in ("ADDED", "MODIFIED"):
                    await self._change(document)
                elif kind == "DELETED":
                    await self._end(objects.ref(document))
                self._version = objects.version(document) or self._version

    async def _change(self, document: Json) -> None:
        ref = objects.ref(document)
        read = self._parse(document)
        if read is _ABSENT:
            await _let(self._sink.absent(ref))
            return
        try:
            await _let(self._sink.changed(read))
        except errors.Unavailable:
            raise  # a peer of the handler's: the watch goes on from before this event, so that it comes again
        except Exception as error:
            self._log_bad(ref, error, exc_info=True)
            await _let(self._sink.absent(ref))

    async def _end(self, ref: Ref) -> None:
        self._bad.pop(ref, None)
        await _let(self._sink.gone(ref))

    def _parse(self, document: Any) -> Any:
        """What the sink reads from the object, or _ABSENT."""
        try:
            if not isinstance(document, dict):
                raise errors.Malformed(f"the object is {type(document).__name__}")
            read = self._sink.parse(document)
        except Exception as error:
            self._log_bad(objects.ref(document), error)
            return _ABSENT
        if self._bad:
            self._bad.pop(objects.ref(document), None)
        return read

    def _log_bad(self, ref: Ref, error: Exception, *, exc_info: bool = False) -> None:
        why = (str(error) if isinstance(error, errors.UnigpuError) else repr(error))[:500]
        if self._bad.get(ref) == why:
            return
        if len(self._bad) >= MOST_BAD:
            self._bad.pop(next(iter(self._bad)))
        self._bad[ref] = why
        logs.event(
            logger,
            "object can't be read",
            logging.WARNING,
            at=None,  # else a type checker takes the fields below for it
            path=self._source.path,
            **objects.log_fields(self._source.path, ref),
            reason=why,
        )
        if exc_info:
            logger.error("a handler failed on this object", exc_info=error)

    def _answered(self) -> None:
        if self._backoff.failures:
            logs.event(logger, "answers again", path=self._source.path, failures=self._backoff.failures)
        self._backoff.reset()
        self.away = 0

    async def _pause(self, error: errors.UnigpuError) -> None:
        failures = self.away = self._backoff.failures + 1
        level = logging.WARNING if failures > 1 else logging.INFO
        logs.event(logger, "no answer", level, path=self._source.path, failures=failures, reason=error)
        await self._backoff.pause()


_ABSENT: Any = object()


def _needs_list(error: errors.UnigpuError) -> bool:
    """Whether a watch that failed so can't be resumed from its version."""
    too_new = isinstance(error, kube_errors.ServerError) and error.status == _TOO_NEW
    return too_new or isinstance(error, kube_errors.Rejected | kube_errors.Garbled)


async def _let(answer: Answer) -> None:
    if answer is not None:
        await answer
