"""A small API server: Secrets and webhook configurations with resource versions, JSON patches and watches."""

import asyncio
import base64
import contextlib
import copy
import io
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jsonpatch
import pytest
import yaml
from aiohttp import web

from unigpu import names
from webhook import app, settings
from webhook.admission import configuration

NAMESPACE = names.SYSTEM_NAMESPACE
HOST = f"{names.SERVICE_WEBHOOK}.{NAMESPACE}.svc"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


class ApiServer:
    """Objects by path; every write raises the version, and a write of an old version is refused."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.available = True
        self.answering = asyncio.Event()
        """Cleared: nothing is answered."""
        self.answering.set()
        self.url = ""
        self._version = 0
        self._changed = asyncio.Condition()
        self._events: list[tuple[str, dict[str, Any]]] = []

    def application(self) -> web.Application:
        """The application that aiohttp serves."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    def put(self, path: str, item: dict[str, Any]) -> None:
        """Store an object, as somebody else would."""
        self._version += 1
        item = copy.deepcopy(item)
        item.setdefault("metadata", {})["resourceVersion"] = str(self._version)
        self.objects[path] = item
        self._events.append((path, item))

    async def change(self, path: str, item: dict[str, Any] | None) -> None:
        """Store or delete an object, and tell who watches."""
        if item is None:
            gone = self.objects.pop(path)
            self._events.append((path, gone))
        else:
            self.put(path, item)
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for writes until the condition holds."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def bundle(self, kind: str) -> str:
        """The caBundle of a configuration, PEM; asserts that all of its webhooks have the same."""
        item = self.objects[f"{ADMISSION}/{kind}webhookconfigurations/{names.WEBHOOK_CONFIGURATION}"]
        bundles = {hook["clientConfig"].get("caBundle", "") for hook in item["webhooks"]}
        assert len(bundles) == 1
        return base64.b64decode(bundles.pop()).decode()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        await self.answering.wait()
        if not self.available:
            return web.json_response({"kind": "Status", "code": 503}, status=503)
        if request.query.get("watch") in ("true", "True", "1"):
            return await self._watch(request)
        if request.method == "GET":
            return self._found(path, request.query.get("fieldSelector", ""))
        body = await request.json()
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return web.json_response({"kind": "Status", "code": 409}, status=409)
        elif path not in self.objects:
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        if request.method == "PATCH":
            try:
                body = jsonpatch.apply_patch(self.objects[path], body)
            except jsonpatch.JsonPatchTestFailed:
                return web.json_response({"kind": "Status", "code": 422}, status=422)
        if request.method == "PUT":
            given = body["metadata"].get("resourceVersion")
            if given and given != self.objects[path]["metadata"]["resourceVersion"]:
                return web.json_response({"kind": "Status", "code": 409}, status=409)
        self.writes.append(f"{request.method} {path}")
        await self.change(path, body)
        return self._found(path)

    def _found(self, path: str, selector: str = "") -> web.Response:
        item = self.objects.get(path)
        if item is not None:
            return web.json_response(item)
        inside = [
            item
            for name, item in self.objects.items()
            if name.rpartition("/")[0] == path and all(_matches(item, term) for term in selector.split(",") if term)
        ]
        if path.endswith(("configurations", "secrets", "namespaces", "nodes", "pods")):
            return web.json_response({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": inside})
        return web.json_response({"kind": "Status", "code": 404}, status=404)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seen = 0
        with contextlib.suppress(ConnectionResetError):
            while True:
                for path, item in self._events[seen:]:
                    folder, _, last = path.rpartition("/")
                    if folder == request.path and (not name or last == name):
                        event = {"type": "MODIFIED", "object": item}
                        await response.write(json.dumps(event).encode() + b"\n")
                seen = len(self._events)
                async with self._changed:
                    await self._changed.wait()
        return response


def _matches(item: dict[str, Any], term: str) -> bool:
    field, _, wanted = term.replace("!=", "=").partition("=")
    group, _, name = field.partition(".")
    return (item.get(group, {}).get(name, "") == wanted) is ("!=" not in term)


@pytest.fixture
async def apiserver(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """The API server with both configurations in it, as the chart makes them."""
    server = ApiServer()
    for item in configuration.documents(settings.Settings()):
        kind = item["kind"].removesuffix("WebhookConfiguration").lower()
        server.put(f"{ADMISSION}/{kind}webhookconfigurations/{item['metadata']['name']}", item)
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def kubeconfig(apiserver: ApiServer, tmp_path: Path) -> str:
    """Path of a kubeconfig for it."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": apiserver.url}}],
                "users": [{"name": "test", "user": {}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            }
        )
    )
    return str(path)


class Caller:
    """Calls a webhook as the API server does: by the Service's name, trusting what the configuration says."""

    def __init__(self, apiserver: ApiServer) -> None:
        self._apiserver = apiserver

    async def post(self, port: int, path: str, body: bytes, kind: str = "mutating") -> tuple[int, str]:
        """Status and text of the answer, over a connection of its own."""
        context = ssl.create_default_context(cadata=self._apiserver.bundle(kind))
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"https://127.0.0.1:{port}{path}", data=io.BytesIO(body), server_hostname=HOST) as response,
        ):
            return response.status, await response.text()


@pytest.fixture
def caller(apiserver: ApiServer) -> Caller:
    """Something that sends reviews."""
    return Caller(apiserver)


def review(pod: dict[str, Any], **fields: Any) -> bytes:
    """A review of the pod's creation, unless the fields say otherwise."""
    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "object": pod,
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | fields}
    return json.dumps(document).encode()


class Service:
    """A webhook that runs in this process."""

    def __init__(self, port: int, metrics_port: int, task: "asyncio.Task[None]") -> None:
        self.port, self.metrics_port, self.task = port, metrics_port, task

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.metrics_port}{path}") as response,
        ):
            return response.status, await response.text()


@pytest.fixture
def drain_seconds() -> float:
    return 0


@pytest.fixture
async def service(kubeconfig: str, drain_seconds: float) -> AsyncIterator[Service]:
    ports: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    chosen = settings.Settings(
        port=0, metrics_port=0, kubeconfig=kubeconfig, drain_seconds=drain_seconds, sweep_seconds=0
    )
    task = asyncio.create_task(app.run(chosen, lambda *both: ports.set_result(both)))
    both: list[asyncio.Future[Any]] = [task, ports]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    yield Service(*ports.result(), task)
    if not task.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await task
