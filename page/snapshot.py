"""What one viewer sees of one namespace, or of all: read at most once in a while, and kept as the bytes that are sent.

The objects themselves are thrown away: of 80,000 shares they take hundreds of megabytes, their compressed JSON three.
"""

import asyncio
import contextlib
import gc
import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import orjson

from cli.status import document
from cli.status.view import View
from page import overview

_RARELY = 5
"""A cluster that takes long to read is read again after that time and this many times as long."""
Early = Callable[[View], None]
Read = Callable[[Early], Awaitable[View]]


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON document as it is sent."""

    compressed: bytes
    tag: str
    """Differs where the document does."""

    def plain(self) -> bytes:
        """Return the document for a client that doesn't take compressed ones."""
        return zlib.decompress(self.compressed, wbits=31)


def body(found: object) -> Body:
    """Return the document, compressed: one of 80,000 shares is 24 MB otherwise."""
    raw = orjson.dumps(found)
    packer = zlib.compressobj(1, wbits=31)
    return Body(packer.compress(raw) + packer.flush(), hashlib.sha256(raw).hexdigest()[:20])


class Snapshot:
    """The documents `overview` and `status` of one reading."""

    def __init__(self, read: Read, refresh: float, gate: asyncio.Semaphore) -> None:
        """`gate` bounds how many clusters are read at once: each takes memory while it is."""
        self._read, self._refresh, self._gate = read, refresh, gate
        self._task: asyncio.Task[None] | None = None
        self._early: asyncio.Event = asyncio.Event()
        self._status: Body | None = None
        self._overview: Body | None = None
        self._good_until = 0.0

    async def status(self) -> Body:
        """Return the document of `status -o json`. Raises what reading the cluster raises."""
        await self._current()
        assert self._status is not None
        return self._status

    async def overview(self) -> Body:
        """Return the nodes and GPUs without their containers; on the first call as soon as nodes are known."""
        if self._overview is None or self._status is not None:
            task = self._current()
            if self._status is not None:
                await task
            else:
                waits = asyncio.ensure_future(self._early.wait())
                try:
                    await asyncio.wait((task, waits), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waits.cancel()
                if task.done():
                    task.result()
        assert self._overview is not None
        return self._overview

    def cancel(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()

    def _current(self) -> "asyncio.Future[None]":
        """The reading that is good now, shared by all who wait for it, and not ended by one who no longer does."""
        if self._task is None or (self._task.done() and time.monotonic() >= self._good_until):
            self._task = asyncio.create_task(self._load())
        return asyncio.shield(self._task)

    async def _load(self) -> None:
        async with self._gate, _without_collecting():
            began = time.monotonic()
            try:
                view = await self._read(self._soon)
                self._overview, self._status = await asyncio.to_thread(_bodies, view)
            except BaseException:
                self._good_until = 0.0
                raise
            taken = time.monotonic() - began
            self._good_until = began + max(self._refresh, _RARELY * taken)
            self._early.set()

    def _soon(self, view: View) -> None:
        if self._status is None:
            self._overview = body(overview.document(view, reading=True))
            self._early.set()


@contextlib.asynccontextmanager
async def _without_collecting() -> AsyncIterator[None]:
    """Switch off the garbage collector: it would look at millions of new objects, again and again, and find nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _bodies(view: View) -> tuple[Body, Body]:
    return body(overview.document(view, reading=False)), body(document.document(view))
