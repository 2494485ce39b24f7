"""List and watch against a small API server: resuming, listing again, and objects that can't be read."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.integration.scheduler.apiserver import ApiServer
from tests.unit.unigpu_kube.followers import Copy, following
from unigpu import errors
from unigpu_kube import client, reflector
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Listing


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


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
