"""List and watch against a small API server: resuming, listing again, and objects that can't be read."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio import client as library

from tests.integration.scheduler.apiserver import ApiServer
from unigpu import errors
from unigpu_kube import backoff, client, objects, reflector
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


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


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


async def test_lists_in_pages_and_follows_changes(api: ApiServer) -> None:
    copy = Copy()
    for number in range(7):
        await api.add_node(f"n{number}", labels={"number": str(number)})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink(), page=3) as one:
        await copy.until({f"n{number}": number for number in range(7)})
        assert one.synced.is_set()
        await api.add_node("n7", labels={"number": "7"})
        await api.change("nodes", "n0", lambda node: node["metadata"]["labels"].update(number="10"))
        await api.remove("nodes", "n1")
        await copy.until({"n0": 10, **{f"n{number}": number for number in range(2, 8)}})
        assert one.lists == 1


async def test_a_broken_watch_goes_on_from_its_version(api: ApiServer) -> None:
    copy = Copy()
    await api.add_node("a", labels={"number": "1"})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()) as one:
        await copy.until({"a": 1})
        api.show_events.clear()
        await api.break_watches()
        await api.add_node("b", labels={"number": "2"})
        api.show_events.set()
        await copy.until({"a": 1, "b": 2})
        assert one.lists == 1


async def test_an_expired_version_is_listed_again(api: ApiServer) -> None:
    copy = Copy()
    await api.add_node("a", labels={"number": "1"})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()) as one:
        await copy.until({"a": 1})
        api.show_events.clear()
        await api.remove("nodes", "a")
        await api.add_node("b", labels={"number": "2"})
        await api.compact()
        await api.break_watches()
        api.show_events.set()
        await copy.until({"b": 2})
        assert one.lists == 2


async def test_a_bad_object_costs_itself_only(api: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    copy = Copy()
    await api.add_node("good", labels={"number": "1"})
    await api.add_node("bad", labels={"number": "no number"})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()) as one:
        await copy.until({"good": 1})
        assert {ref.name for ref in copy.listings[0].unreadable} == {"bad"}
        # It becomes readable, then unreadable in several ways; the others live on.
        await api.change("nodes", "bad", lambda node: node["metadata"]["labels"].update(number="2"))
        await copy.until({"good": 1, "bad": 2})
        for labels in ({}, {"number": None}, {"number": "1e999"}, {"number": ["deep"]}):
            await api.change("nodes", "bad", lambda node, labels=labels: node["metadata"].update(labels=labels))  # type: ignore[misc]
        await api.change("nodes", "good", lambda node: node["metadata"]["labels"].update(number="3"))
        await copy.until({"good": 3})
        await api.change("nodes", "good", lambda node: node["metadata"]["labels"].update(number="4"))
        await copy.until({"good": 4})
        assert one.lists == 1
    lines = [record for record in caplog.records if record.getMessage() == "object can't be read"]
    fields = [record.__dict__["unigpu_fields"] for record in lines]
    assert all(one["node"] == "bad" for one in fields)
    reasons = [one["reason"] for one in fields]
    assert len(reasons) == 5


async def test_a_bad_object_is_logged_once(api: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    copy = Copy()
    await api.add_node("bad", labels={"number": "x"})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()):
        for _ in range(3):
            await api.change("nodes", "bad", lambda node: node["spec"].update(touched=True))
        await api.add_node("good", labels={"number": "1"})
        await copy.until({"good": 1})
    assert [record.getMessage() for record in caplog.records].count("object can't be read") == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.Malformed("x"),
        ValueError(),
        TypeError(),
        KeyError("k"),
        OverflowError(),
        RecursionError(),
        AttributeError(),
        IndexError(),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_reading_raises(api: ApiServer, error: Exception) -> None:
    copy = Copy()

    def parse(document: client.Json) -> tuple[str, int]:
        if document["metadata"]["name"] == "bad":
            raise error
        return copy.parse(document)

    sink = reflector.Sink(parse, copy.listed, copy.changed, copy.gone)
    await api.add_node("bad")
    async with following(f"http://127.0.0.1:{api.port}", sink) as one:
        await one.synced.wait()
        await api.change("nodes", "bad", lambda node: None)
        await api.add_node("good", labels={"number": "1"})
        await copy.until({"good": 1})


async def test_an_object_that_the_handler_cannot_take_is_absent(api: ApiServer) -> None:
    copy = Copy(fail_on=13)
    await api.add_node("a", labels={"number": "1"})
    await api.add_node("b", labels={"number": "2"})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()):
        await copy.until({"a": 1, "b": 2})
        await api.change("nodes", "a", lambda node: node["metadata"]["labels"].update(number="13"))
        await copy.until({"b": 2})
        await api.change("nodes", "a", lambda node: node["metadata"]["labels"].update(number="14"))
        await copy.until({"a": 14, "b": 2})


async def test_who_wants_to_know_of_unreadable_objects_does(api: ApiServer) -> None:
    copy = Copy()
    told: list[str] = []

    def unreadable(ref: Ref) -> None:
        told.append(ref.name)
        copy.told.set()

    await api.add_node("a", labels={"number": "1"})
    sink = reflector.Sink(copy.parse, copy.listed, copy.changed, copy.gone, unreadable)
    async with following(f"http://127.0.0.1:{api.port}", sink):
        await copy.until({"a": 1})
        await api.change("nodes", "a", lambda node: node["metadata"]["labels"].update(number="x"))
        await api.add_node("b", labels={"number": "2"})
        await copy.until({"a": 1, "b": 2})
    assert told == ["a"]


async def test_an_event_comes_again_where_the_handlers_peer_is_away(api: ApiServer) -> None:
    copy = Copy(busy_on=5)
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()) as one:
        await one.synced.wait()
        await api.add_node("a", labels={"number": "5"})
        await copy.until({"a": 5})
        assert one.lists == 1


async def test_handlers_may_be_asynchronous(api: ApiServer) -> None:
    copy = Copy()

    async def listed(listing: Listing[tuple[str, int]]) -> None:
        await asyncio.sleep(0)
        copy.listed(listing)

    async def changed(item: tuple[str, int]) -> None:
        await asyncio.sleep(0)
        copy.changed(item)

    async def gone(ref: Ref) -> None:
        await asyncio.sleep(0)
        copy.gone(ref)

    await api.add_node("a", labels={"number": "1"})
    async with following(f"http://127.0.0.1:{api.port}", reflector.Sink(copy.parse, listed, changed, gone)):
        await copy.until({"a": 1})
        await api.add_node("b", labels={"number": "2"})
        await api.remove("nodes", "a")
        await copy.until({"b": 2})


async def test_survives_an_api_server_that_is_away(api: ApiServer) -> None:
    copy = Copy()
    await api.add_node("a", labels={"number": "1"})
    async with following(f"http://127.0.0.1:{api.port}", copy.sink()) as one:
        await copy.until({"a": 1})
        await api.stop()
        await api.start()
        await api.add_node("b", labels={"number": "2"})
        await copy.until({"a": 1, "b": 2})
        api.status = 503
        await api.break_watches()
        api.status = 403
        await asyncio.sleep(0)
        api.status = None
        await api.add_node("c", labels={"number": "3"})
        await copy.until({"a": 1, "b": 2, "c": 3})
        assert one.lists >= 1


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
