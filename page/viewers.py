"""Viewers, by the token that each brings: a connection with that token, and what it was last shown.

The token itself is kept only in the connection, and for as long as the viewer asks: the table's key is its digest.
"""

import asyncio
import contextlib
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from cli.top.samples import Page
from page.snapshot import Snapshot
from unigpu import errors
from unigpu_kube.client import Client

IDLE = 90.0
"""Seconds after which a viewer that asks no more is forgotten, and its token with it."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
Connect = Callable[[str], contextlib.AbstractAsyncContextManager[Client]]


class NoToken(errors.UnigpuError):
    """The request says not who its viewer is."""


def token(headers: Mapping[str, str], own: str) -> str:
    """Return the bearer token of a request: of the header `own`, else of Authorization. Raises NoToken."""
    given = headers.get(own, "").strip()
    if not given:
        scheme, _, rest = headers.get("Authorization", "").partition(" ")
        given = rest.strip() if scheme.lower() == "bearer" else ""
    if not _TOKEN.fullmatch(given):
        raise NoToken("the page shows what your own token may see, and this request has none")
    return given


@dataclass(slots=True)
class Viewer:
    """Somebody who looks at the page."""

    api: Client
    close: Callable[[], object]
    asked: float = 0.0
    """When the last request came."""
    busy: int = 0
    """Requests under way."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    """What was read last, by namespace; empty: all."""
    pages: dict[str, Page] = field(default_factory=dict)
    """Last page of each exporter, by node, of which the next one makes rates."""
    name: str | None = None
    """Who the API server says that it is; empty: it doesn't say; None: it wasn't asked yet."""


class Viewers:
    """The viewers of the last minutes, those who asked last at the end."""

    def __init__(self, connect: Connect, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect, self._most, self._clock = connect, most, clock
        self._viewers: OrderedDict[bytes, Viewer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._viewers)

    @contextlib.asynccontextmanager
    async def of(self, given: str) -> AsyncIterator[Viewer]:
        """Give the block the viewer with this token; one whom the API server doesn't know is forgotten at once."""
        key = hashlib.sha256(given.encode()).digest()
        viewer = self._viewers.get(key)
        if viewer is None:
            stack = contextlib.AsyncExitStack()
            viewer = Viewer(await stack.enter_async_context(self._connect(given)), stack.aclose)
            self._viewers[key] = viewer
        self._viewers.move_to_end(key)
        viewer.busy += 1
        viewer.asked = self._clock()
        try:
            yield viewer
        except BaseException as error:
            if getattr(error, "status", 0) == 401:
                viewer.asked = -IDLE
            raise
        finally:
            viewer.busy -= 1
            await self.forget()

    async def forget(self, *, everyone: bool = False) -> None:
        """Forget those who ask no more, and the oldest of too many."""
        now = self._clock()
        many = len(self._viewers) - self._most
        for number, (key, viewer) in enumerate(list(self._viewers.items())):
            if everyone or (not viewer.busy and (number < many or now - viewer.asked > IDLE)):
                del self._viewers[key]
                for snapshot in viewer.snapshots.values():
                    snapshot.cancel()
                await asyncio.shield(_done(viewer.close()))

    async def run(self) -> None:
        """Forget idle viewers, time and again. Never returns."""
        while True:
            await asyncio.sleep(IDLE / 3)
            await self.forget()


async def _done(found: object) -> None:
    if asyncio.iscoroutine(found):
        await found
