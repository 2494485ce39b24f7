"""How answers of the API server become values and errors, and what is sent."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from unigpu import errors
from unigpu_kube import client, events, library, objects, pods
from unigpu_kube import errors as kube_errors
from unigpu_kube.objects import Ref


class Server:
    """Answers everything with `status` and `body`, and keeps what was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = b"{}"
        self.headers: list[tuple[str, str]] = []
        self.asked: list[tuple[str, str, str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        content = await request.read()
        self.asked.append(
            (request.method, request.path_qs, request.content_type, json.loads(content) if content else None)
        )
        answer = web.Response(status=self.status, body=self.body, content_type="application/json")
        for name, value in self.headers:
            answer.headers.add(name, value)
        return answer


@pytest.fixture
def server() -> Server:
    return Server()


@contextlib.asynccontextmanager
async def connected(server: Server, warned: Callable[[str], None] | None = None) -> AsyncIterator[client.Client]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with library.ApiClient(library.Configuration(host=url)) as api:
            yield client.Client(api, 5.0, warned)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, kube_errors.Rejected),
        (401, kube_errors.Rejected),
        (403, kube_errors.Rejected),
        (404, kube_errors.Missing),
        (409, kube_errors.Conflict),
        (410, kube_errors.Expired),
        (422, kube_errors.Rejected),
        (429, kube_errors.ServerError),
        (500, kube_errors.ServerError),
        (504, kube_errors.ServerError),
    ],
)
async def test_statuses(server: Server, status: int, error: type[Exception]) -> None:
    server.status = status
    server.body = b'{"message": "the reason"}'
    async with connected(server) as api:
        with pytest.raises(error, match="the reason") as raised:
            await api.get("/api/v1/nodes/a")
    assert type(raised.value) is error
    assert isinstance(raised.value, errors.Unavailable) is (status in (429, 500, 504))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"[" * 5000])
async def test_answers_that_are_not_objects(server: Server, body: bytes) -> None:
    server.body = body
    async with connected(server) as api:
        with pytest.raises(errors.Unavailable):
            await api.get("/api/v1/nodes/a")
        server.status = 500
        with pytest.raises(kube_errors.ServerError):
            await api.get("/api/v1/nodes/a")


async def test_find_is_none_for_what_is_missing(server: Server) -> None:
    server.status = 404
    async with connected(server) as api:
        assert await api.find(objects.node("a")) is None


TABLE = {
    "metadata": {"continue": ""},
    "columnDefinitions": [{"name": "Name"}, {"name": "Status"}],
    "rows": [{"cells": ["n1", "NotReady"], "object": {"metadata": {"name": "n1"}}}],
}


async def test_rows_of_a_table(server: Server) -> None:
    server.body = json.dumps(TABLE).encode()
    async with connected(server) as api:
        (row,) = await api.rows(objects.NODES, {"fieldSelector": "x"}, limit=7)
    assert (row.cells, row.metadata) == ({"Name": "n1", "Status": "NotReady"}, {"name": "n1"})
    assert server.asked[0][1] == "/api/v1/nodes?fieldSelector=x&limit=7"


@pytest.mark.parametrize("change", [{"rows": [{}]}, {"rows": [1]}, {"metadata": None}, {"columnDefinitions": [{}]}])
async def test_what_is_no_table(server: Server, change: dict[str, Any]) -> None:
    server.body = json.dumps(TABLE | change).encode()
    async with connected(server) as api:
        with pytest.raises(kube_errors.Garbled, match="is not a table"):
            await api.rows(objects.NODES)


async def test_names_and_annotations_of_a_list_in_parts(server: Server) -> None:
    fields = [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}]
    about = {"name": "a", "namespace": "team", "annotations": {"x": "1"}, "managedFields": fields}
    parts = [
        {"metadata": {"continue": "next"}, "items": [{"metadata": about}]},
        {"metadata": {}, "items": [{"metadata": {"name": "b", "annotations": None}}]},
        {"metadata": {}, "items": None},
    ]
    found = []
    async with connected(server) as api:
        server.body = json.dumps(parts[0]).encode()
        async for part in api.annotated(objects.PODS, {"fieldSelector": "x"}, limit=1):
            found.append([(one.namespace, one.name, one.annotations) for one in part])
            server.body = json.dumps(parts[len(found)]).encode()
        assert [part async for part in api.annotated(objects.PODS)] == [[]]
    assert found == [[("team", "a", {"x": "1"})], [("", "b", None)]]
    paths = [path for _, path, _, _ in server.asked]
    assert paths[:2] == [f"{objects.PODS}?fieldSelector=x&limit=1{more}" for more in ("", "&continue=next")]


@pytest.mark.parametrize(
    "document", [[], {}, {"metadata": {}, "items": [{}]}, {"metadata": {}, "items": [{"metadata": {"name": 1}}]}]
)
async def test_what_is_no_list_of_objects(server: Server, document: object) -> None:
    server.body = json.dumps(document).encode()
    async with connected(server) as api:
        with pytest.raises(kube_errors.Garbled, match="can't be read"):
            await anext(aiter(api.annotated(objects.PODS)))


async def test_text_and_warnings(server: Server) -> None:
    server.body = b"unigpu_x 1\n"
    server.headers = [
        ("Warning", '299 - "a \\"quoted\\" word"'),
        ("Warning", "110 - other"),
        ("Warning", '299 - "two"'),
    ]
    warned: list[str] = []
    async with connected(server, warned.append) as api:
        assert await api.text("/metrics") == "unigpu_x 1\n"
        server.status = 403
        with pytest.raises(kube_errors.Rejected):
            await api.text("/metrics")
    assert warned == ['a "quoted" word', "two"] * 2


async def test_no_server_is_unavailable() -> None:
    async with library.ApiClient(library.Configuration(host="http://127.0.0.1:1")) as api:
        with pytest.raises(errors.Unavailable, match="GET /api/v1/nodes"):
            await client.Client(api).get(objects.NODES)


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        (client.Patch.JSON, 422, kube_errors.Conflict),
        (client.Patch.MERGE, 422, kube_errors.Rejected),
        (client.Patch.JSON, 409, kube_errors.Conflict),
    ],
)
async def test_patches(server: Server, kind: client.Patch, status: int, error: type[Exception]) -> None:
    body: Any = [{"op": "test"}] if kind is client.Patch.JSON else {"a": 1}
    async with connected(server) as api:
        await api.patch("/x", body, kind)
        server.status = status
        with pytest.raises(error) as raised:
            await api.patch("/x", body, kind)
    assert type(raised.value) is error
    assert server.asked[0] == ("PATCH", "/x", kind.value, body)


async def test_pods_are_bound_and_annotated(server: Server) -> None:
    pod = Ref("team", "training", "uid-1")
    async with connected(server) as api:
        await pods.bind(api, pod, "node-1", {"a": "b"})
        await pods.annotate(
            api, {"metadata": {"namespace": "team", "name": "training", "resourceVersion": "7"}}, {"a": None}
        )
        await pods.annotate_by_status(api, pod, {"a": "c"})
    binding, by_version, by_status = server.asked
    assert binding[:2] == ("POST", "/api/v1/namespaces/team/pods/training/binding")
    assert binding[3]["metadata"]["uid"] == "uid-1" and binding[3]["target"]["name"] == "node-1"
    assert by_version[3] == {"metadata": {"resourceVersion": "7", "annotations": {"a": None}}}
    assert by_status[1] == "/api/v1/namespaces/team/pods/training/status"
    assert by_status[3] == {"metadata": {"uid": "uid-1", "annotations": {"a": "c"}}}


def event(message: str = "why", about: Ref = Ref("team", "training", "uid-1")) -> client.Json:
    return events.body(
        about,
        kind=events.Kind.POD if about.namespace else events.Kind.NODE,
        name="unigpu-1",
        reason="Why",
        message=message,
        component="unigpu-x",
        now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


async def test_events(server: Server) -> None:
    async with connected(server) as api:
        assert await events.create(api, event())
        for status in (404, 409):
            server.status = status
            assert not await events.create(api, event())
        server.status, server.body = 403, b'{"message": "unable to create: namespace team is being terminated"}'
        assert not await events.create(api, event())
        server.body = b'{"message": "forbidden"}'
        with pytest.raises(kube_errors.Rejected):
            await events.create(api, event())
    _, path, _, body = server.asked[0]
    assert path == "/api/v1/namespaces/team/events"
    assert body["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "training",
        "namespace": "team",
        "uid": "uid-1",
    }
    assert body["firstTimestamp"] == "2026-01-02T03:04:05Z"


def test_events_of_nodes_and_long_messages() -> None:
    body = event("é" * 2000, Ref("", "node-1"))
    assert body["metadata"]["namespace"] == "default" and "namespace" not in body["involvedObject"]
    assert len(body["message"].encode()) <= events.MOST_MESSAGE and body["message"].endswith("…")


def kubeconfig(path: Path) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.example"}} for name in ("one", "two")],
        "users": [{"name": "user", "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "user"}} for name in ("one", "two")],
        "current-context": "one",
    }
    path.write_text(json.dumps(document))
    return path


async def test_connecting_by_kubeconfig_and_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kubeconfig(tmp_path / "config")
    async with client.connect(file) as api:
        assert api.api.configuration.host == "http://one.example"
    async with client.connect(str(file), context="two") as api:
        assert api.api.configuration.host == "http://two.example"
    monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with client.connect(None) as api:
        assert api.api.configuration.host == "http://one.example"


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "{", "clusters: 7"])
async def test_no_way_to_the_api_server(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(errors.Malformed, match="--kubeconfig"):
        async with client.connect(file):
            pass


async def test_a_pods_service_account_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(errors.Malformed):  # there is no token here
        async with client.connect(None):
            pass


def test_log_fields_name_pods_and_nodes_alike_everywhere() -> None:
    about = Ref("team", "training", "uid-1")
    assert objects.log_fields(objects.PODS, about) == {"pod": "team/training", "pod_uid": "uid-1"}
    assert objects.log_fields("/api/v1/namespaces/team/pods", about)["pod"] == "team/training"
    assert objects.log_fields(objects.NODES, Ref("", "n1", "u")) == {"node": "n1"}
    assert objects.log_fields(objects.NAMESPACES, Ref("", "team", "u")) == {"object": "team", "uid": "u"}


@pytest.mark.parametrize("document", [None, [], {}, {"metadata": 7}, {"metadata": {"name": 7, "uid": []}}])
def test_refs_of_anything(document: Any) -> None:
    assert objects.ref(document).title == ""
    assert objects.version(document) == ""
