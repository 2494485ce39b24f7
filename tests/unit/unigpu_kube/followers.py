"""What tests of the reflector share: a copy of a list that is followed, and its reflector at work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from unigpu import errors
from unigpu_kube import client, library, objects, reflector
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Listing


@dataclass
class Copy:
    """What the sink received; `parse` reads the label `number` as a whole number."""

    items: dict[str, int] = field(default_factory=dict)
    listings: list[Listing[tuple[str, int]]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    fail_on: int | None = None
    busy_on: int | None = None

    def parse(self, document: client.Json) -> tuple[str, int]:
        metadata = document["metadata"]
        return metadata["name"], int(metadata["labels"]["number"])

    def listed(self, listing: Listing[tuple[str, int]]) -> None:
        self.items = dict(listing.items)
        self.listings.append(listing)
        self.told.set()

    def changed(self, item: tuple[str, int]) -> None:
        name, number = item
        if number == self.busy_on:
            self.busy_on = None
            raise errors.Unavailable("a peer is away")
        if number == self.fail_on:
            raise ZeroDivisionError("the handler fails")
        self.items[name] = number
        self.told.set()

    def gone(self, ref: Ref) -> None:
        self.items.pop(ref.name, None)
        self.told.set()

    async def until(self, items: dict[str, int]) -> None:
        async with asyncio.timeout(10):
            while self.items != items:
                self.told.clear()
                await self.told.wait()

    def sink(self) -> reflector.Sink[tuple[str, int]]:
        return reflector.Sink(self.parse, self.listed, self.changed, self.gone)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[client.Client]:
    async with library.ApiClient(library.Configuration(host=url)) as opened:
        yield client.Client(opened, 5.0)


@contextlib.asynccontextmanager
async def following(
    url: str, sink: reflector.Sink[Any], **source: Any
) -> AsyncIterator[reflector.Reflector[tuple[str, int]]]:
    async with connected(url) as opened:
        one = reflector.Reflector(opened, reflector.Source(objects.NODES, **source), sink)
        task = asyncio.create_task(one.run())
        try:
            yield one
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
