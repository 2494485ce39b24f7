"""List and watch where answers are strange, silent or late."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.unit.unigpu_kube.followers import Copy, following
from unigpu import errors
from unigpu_kube import backoff

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def node(name: str, number: int, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "labels": {"number": str(number)}}}


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'{"type":"ADDED","object":{"a":1e999}}',
        b"[" * 5000,
        b'{"type":"ERROR","object":{"code":504,"message":"Too large resource version: 9, current: 3"}}',
        b'{"type":"ERROR","object":{"code":400,"message":"bad"}}',
        b'{"type":"ERROR"}',
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":[]}',
        b'{"type":"ADDED","object":{"metadata":[]}}',
        b'{"type":"DELETED","object":{"metadata":{"name":7}}}',
        b'{"type":{},"object":{"metadata":{"resourceVersion":{}}}}',
        b"",
    ],
    ids=lambda line: line[:40].decode(),
)
async def test_a_strange_event_never_ends_the_watch(line: bytes) -> None:
    """The line comes on the first watch only; the next one, or the next list, shows the node."""
    watches = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal watches
        if request.query.get("watch") != "true":
            items = [node("a", 1, 3)] if watches == 0 else [node("a", 2, 4)]
            return web.json_response({"metadata": {"resourceVersion": "3"}, "items": items})
        watches += 1
        response = web.StreamResponse()
        await response.prepare(request)
        if watches == 1:
            await response.write(line + b"\n")
        else:
            await response.write(json.dumps({"type": "MODIFIED", "object": node("a", 2, 4)}).encode() + b"\n")
            await asyncio.sleep(3600)
        return response

    copy = Copy()
    async with serving(handle) as url, following(url, copy.sink()):
        await copy.until({"a": 2})


async def test_objects_of_a_list_that_are_none() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            await asyncio.sleep(3600)
        items: list[Any] = [None, 7, [], {}, {"metadata": None}, {"metadata": {"name": []}}, node("a", 1, 1)]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    copy = Copy()
    async with serving(handle) as url, following(url, copy.sink()):
        await copy.until({"a": 1})


async def test_a_silent_watch_is_begun_again() -> None:
    watches = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal watches
        if request.query.get("watch") != "true":
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        watches += 1
        response = web.StreamResponse()
        await response.prepare(request)
        if watches == 2:
            await response.write(json.dumps({"type": "ADDED", "object": node("a", 1, 2)}).encode() + b"\n")
        await asyncio.sleep(3600)
        return response

    copy = Copy()
    async with serving(handle) as url, following(url, copy.sink(), silence=0.05):
        await copy.until({"a": 1})


async def test_everything_is_listed_again_after_a_while() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return web.Response()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [node("a", 1, 1)]})

    copy = Copy()
    async with serving(handle) as url, following(url, copy.sink(), relist_seconds=0.0) as one:
        async with asyncio.timeout(10):
            while one.lists < 2:
                copy.told.clear()
                await copy.told.wait()


async def test_metadata_alone_is_asked_for() -> None:
    accepted: list[str] = []
    watched = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        accepted.append(request.headers["Accept"])
        if request.query.get("watch") == "true":
            watched.set()
            await asyncio.sleep(3600)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [node("a", 1, 1)]})

    copy = Copy()
    async with serving(handle) as url, following(url, copy.sink(), metadata_only=True):
        await asyncio.wait_for(watched.wait(), 10)
    assert accepted == [
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    ]


async def test_retry_gives_up_with_the_last_error() -> None:
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise errors.Unavailable(str(calls))
        return calls

    assert await backoff.retry(call, pauses=(0.0,)) == 3
    calls = 0
    with pytest.raises(errors.Unavailable, match="2"):
        await backoff.retry(call, tries=2, pauses=(0.0,))
