"""The page's parts that ask nobody: tokens, viewers, snapshots, the overview, events, settings."""

import asyncio
import contextlib
import dataclasses
import json
import zlib
from collections.abc import AsyncIterator

import orjson
import pytest

from cli.status import pending, view
from cli.status.view import View
from page import events, overview, settings, snapshot, viewers
from page.snapshot import Snapshot
from page.viewers import NoToken, Viewers
from tests.unit.cli import objects
from tests.unit.cli.objects import A, B, gpu, metadata, node, share
from unigpu import errors, names
from unigpu.gpus import Fault
from unigpu_kube import errors as kube_errors
from unigpu_kube.client import Client

OWN = names.HEADER_TOKEN


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Authorization": "Bearer abc"}, "abc"),
        ({"Authorization": "bearer  abc "}, "abc"),
        ({OWN: "abc"}, "abc"),
        ({"Authorization": "Bearer proxy", OWN: "own"}, "own"),
    ],
)
def test_the_token_comes_from_a_header(headers: dict[str, str], found: str) -> None:
    assert viewers.token(headers, OWN) == found


@pytest.mark.parametrize(
    "text", ["", "Basic abc", "Bearer", "Bearer a b", "Bearer \x7f", "Bearer é", "Bearer " + "x" * 20000]
)
def test_what_isnt_a_token_is_none(text: str) -> None:
    with pytest.raises(NoToken):
        viewers.token({"Authorization": text}, OWN)


class Connections:
    """Counts what is open."""

    def __init__(self) -> None:
        self.open: list[str] = []

    @contextlib.asynccontextmanager
    async def __call__(self, token: str) -> AsyncIterator[Client]:
        self.open.append(token)
        try:
            yield None  # type: ignore[misc]
        finally:
            self.open.remove(token)


async def test_a_viewer_is_kept_while_it_asks_and_forgotten_with_its_token() -> None:
    now, made = [0.0], Connections()
    known = Viewers(made, 10, lambda: now[0])
    async with known.of("a") as first:
        pass
    now[0] = viewers.IDLE
    async with known.of("a") as again:
        assert again is first
    async with known.of("b"):
        assert made.open == ["a", "b"]
        now[0] = 3 * viewers.IDLE
        await known.forget()
        assert made.open == ["b"], "one with a request under way stays"
    await known.forget(everyone=True)
    assert (made.open, len(known)) == ([], 0)


async def test_only_so_many_viewers_are_kept() -> None:
    made = Connections()
    known = Viewers(made, 2)
    for name in "abcab":
        async with known.of(name):
            pass
    assert sorted(made.open) == ["a", "b"]
    await known.forget(everyone=True)


@pytest.mark.parametrize(("status", "kept"), [(401, False), (403, True)])
async def test_a_token_that_the_api_server_refuses_isnt_kept(status: int, kept: bool) -> None:
    made = Connections()
    known = Viewers(made, 2)
    with pytest.raises(kube_errors.Rejected):
        async with known.of("a"):
            raise kube_errors.Rejected(status, "no")
    assert bool(made.open) is kept
    await known.forget(everyone=True)


class Reader:
    """A cluster that is read step by step, as the test lets it."""

    def __init__(self, found: View) -> None:
        self.found = found
        self.reads = 0
        self.early, self.whole = asyncio.Event(), asyncio.Event()
        self.error: errors.UnigpuError | None = None

    async def __call__(self, soon: snapshot.Early) -> View:
        self.reads += 1
        await self.early.wait()
        soon(dataclasses.replace(self.found, nodes=self.found.nodes[:1], complete=False))
        await self.whole.wait()
        if self.error is not None:
            raise self.error
        return self.found


FOUND = view.view([node("n1", gpu()), node("n2", gpu(B))], [metadata("p", share(4096, 30))])


async def test_nodes_are_shown_before_pods_are_known() -> None:
    reader = Reader(FOUND)
    taken = Snapshot(reader, 0.001, asyncio.Semaphore(1))
    status = asyncio.create_task(taken.status())
    reader.early.set()
    first = orjson.loads((await taken.overview()).plain())
    assert (first["reading"], len(first["nodes"])) == (True, 1)
    assert not status.done()
    reader.whole.set()
    whole = orjson.loads((await status).plain())
    assert [one["name"] for one in whole["nodes"]] == ["n1", "n2"]
    second = orjson.loads((await taken.overview()).plain())
    assert (second["reading"], len(second["nodes"]), second["total"]["shares"]) == (False, 2, 1)


async def test_viewers_of_one_token_share_a_reading_and_one_who_leaves_doesnt_end_it() -> None:
    reader = Reader(FOUND)
    taken = Snapshot(reader, 60, asyncio.Semaphore(1))
    one, two = (asyncio.create_task(taken.status()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    reader.early.set()
    reader.whole.set()
    body = await two
    assert (await taken.status()).tag == body.tag
    assert reader.reads == 1
    with pytest.raises(asyncio.CancelledError):
        await one


async def test_a_failure_reaches_everyone_and_the_next_request_reads_again() -> None:
    reader = Reader(FOUND)
    reader.early.set()
    reader.whole.set()
    reader.error = kube_errors.Rejected(403, "no")
    taken = Snapshot(reader, 60, asyncio.Semaphore(1))
    for ask in (taken.status, taken.status):
        with pytest.raises(kube_errors.Rejected):
            await ask()
    reader.error = None
    assert orjson.loads((await taken.status()).plain())["total"]["shares"] == 1
    assert reader.reads == 3


async def test_an_old_reading_isnt_shown_once_the_rights_are_gone() -> None:
    reader = Reader(FOUND)
    reader.early.set()
    reader.whole.set()
    taken = Snapshot(reader, 1e-9, asyncio.Semaphore(1))
    await taken.status()
    reader.error = kube_errors.Rejected(401, "expired")
    deadline = asyncio.get_running_loop().time() + 60
    with pytest.raises(kube_errors.Rejected):
        while asyncio.get_running_loop().time() < deadline:
            await taken.overview()


def test_the_overview_says_what_a_gpu_has_and_what_is_wrong() -> None:
    sick = gpu(B, 1, healthy=False, fault=Fault("XID 79", "2026-01-01T00:00:00Z", "boot"))
    pods = [metadata("p", share(4096, 30)), metadata("q", share(1024, 0), namespace="other")]
    waiting = pending.pending([objects.pending("w", objects.UNSCHEDULABLE)])
    seen = dataclasses.replace(view.view([node("n1", gpu(), sick)], pods), pending=waiting)
    found = json.loads(orjson.dumps(overview.document(seen, reading=False)))
    first, second = found["nodes"][0]["gpus"]
    assert first == [0, "T4", A, 24576, 5120, 19456, 30, 2, False, 0, None, None]
    assert (second[5], second[10]) == (0, "XID 79")
    assert [(one["namespace"], one["memory"], one["pending"]) for one in found["tenants"]] == [
        ("team", 4096, 1),
        ("other", 1024, 0),
    ]
    assert found["pending"][0]["reason"] == "Unschedulable"


def test_a_document_is_sent_compressed() -> None:
    made = snapshot.body({"a": ["b"] * 1000})
    assert json.loads(zlib.decompress(made.compressed, wbits=31)) == {"a": ["b"] * 1000} == json.loads(made.plain())
    assert made.tag == snapshot.body({"a": ["b"] * 1000}).tag != snapshot.body({}).tag


def test_events_of_every_kind_are_asked_for_and_any_form_is_read() -> None:
    assert set(events.REASONS) == {value for key, value in vars(names).items() if key.startswith("EVENT_")}
    assert events.event({})["last"] == ""
    about = {"kind": "Pod", "namespace": "team", "name": "p"}
    found = events.event({"involvedObject": about, "eventTime": "2026-01-01T00:00:00Z", "reason": "GpuBreach"})
    assert (found["last"], found["name"], found["count"]) == ("2026-01-01T00:00:00Z", "p", 1)


def test_the_api_server_is_where_kubernetes_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "https://10.0.0.1:443"
    assert settings.in_cluster({"KUBERNETES_SERVICE_HOST": "fd::1", "KUBERNETES_SERVICE_PORT": "6443"}) == (
        "https://[fd::1]:6443"
    )
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for arguments in ([], ["--api-server=http://x", "--prometheus=monitoring"]):
        with pytest.raises(SystemExit):
            settings.parse(arguments)
    said = capsys.readouterr().err
    assert "--api-server is not set" in said and "accepted: NAMESPACE/NAME:PORT" in said
