"""The page's requests: its files, and JSON read with the token of whom asks. Nothing is written anywhere."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import orjson
from aiohttp import web

from cli import failures, prometheus
from cli.explain import read as explain
from cli.status import read as status
from page import events, history, use, viewers
from page.metrics import Metrics
from page.settings import Settings
from page.snapshot import Body, Snapshot, body
from page.viewers import NoToken, Viewer, Viewers
from unigpu import errors, logs, names
from unigpu_kube import errors as kube_errors

logger = logging.getLogger(__name__)
_AT_ONCE = 2
"""Clusters that are read at once."""
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCOUNT = "system:serviceaccount:"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""Names of Kubernetes' objects: they become parts of paths and of expressions."""
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = Callable[[Viewer, web.Request], Awaitable[Body]]


class Routes:
    """Answers requests."""

    def __init__(self, settings: Settings, known: Viewers, metrics: Metrics) -> None:
        self._settings, self._viewers, self._metrics = settings, known, metrics
        self._gate = asyncio.Semaphore(_AT_ONCE)

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(middlewares=[self._observed])
        for path, content, kind in _files():
            application.router.add_get(path, _file(content, kind))
        for path, answer in (
            ("/api/overview.json", self._overview),
            ("/api/status.json", self._status),
            ("/api/use.json", self._use),
            ("/api/history.json", self._history),
            ("/api/events.json", self._events),
            ("/api/explain.json", self._explain),
            ("/api/viewer.json", self._viewer),
        ):
            application.router.add_get(path, self._as_viewer(answer))
        return application

    @web.middleware
    async def _observed(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        began = time.perf_counter()
        known = request.match_info.route.resource
        path = known.canonical if known is not None else "other"
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.reason}\n")
        response.headers.update(HEADERS)
        self._metrics.observe(path, response.status, time.perf_counter() - began)
        return response

    def _as_viewer(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                given = viewers.token(request.headers, names.HEADER_TOKEN)
                async with self._viewers.of(given) as viewer:
                    return _sent(request, await answer(viewer, request))
            except NoToken as error:
                return _failed(401, str(error))
            except errors.UnigpuError as error:
                return _failed(_status(error), failures.sentence(error).removeprefix("error: "))
            except TimeoutError:
                return _failed(504, "the cluster doesn't answer in time: try again")

        return handle

    async def _snapshot(self, viewer: Viewer, request: web.Request) -> Snapshot:
        namespace = _named(request, "namespace")
        own = await self._own(viewer)
        if namespace not in viewer.snapshots:
            viewer.snapshots[namespace] = Snapshot(
                lambda early: status.cluster(viewer.api, own, namespace=namespace, early=early),
                self._settings.refresh,
                self._gate,
            )
            for extra in list(viewer.snapshots)[:-2]:
                viewer.snapshots.pop(extra).cancel()
        return viewer.snapshots[namespace]

    async def _overview(self, viewer: Viewer, request: web.Request) -> Body:
        return await (await self._snapshot(viewer, request)).overview()

    async def _status(self, viewer: Viewer, request: web.Request) -> Body:
        return await (await self._snapshot(viewer, request)).status()

    async def _use(self, viewer: Viewer, request: web.Request) -> Body:
        nodes = use.chosen(request.query.getall("node", []))
        if not all(map(_NAME.fullmatch, nodes)):
            raise errors.Denied("node: not the name of a node; accepted: names as `kubectl get nodes` shows them")
        return body(await use.document(viewer.api, self._settings.system_namespace, nodes, viewer.pages))

    async def _history(self, viewer: Viewer, request: web.Request) -> Body:
        if not self._settings.prometheus:
            raise errors.Denied("no Prometheus is set: accepted: the chart's page.prometheus")
        path = prometheus.service(self._settings.prometheus)
        return body(await history.document(viewer.api, path, _named(request, "namespace")))

    async def _events(self, viewer: Viewer, request: web.Request) -> Body:
        own = await self._own(viewer)
        return body(await events.readable(viewer.api, _named(request, "namespace"), own))

    async def _explain(self, viewer: Viewer, request: web.Request) -> Body:
        namespace, pod = _named(request, "namespace", needed=True), _named(request, "pod", needed=True)
        async with self._gate:
            sections = await explain.sections(viewer.api, namespace, pod)
        return body({"sections": sections})

    async def _viewer(self, viewer: Viewer, request: web.Request) -> Body:
        await self._own(viewer)
        return body({"name": viewer.name, "history": bool(self._settings.prometheus)})

    async def _own(self, viewer: Viewer) -> str:
        """The namespace that is meant where the viewer may not read all."""
        if viewer.name is None:
            viewer.name = await _name(viewer)
        account = viewer.name.removeprefix(_ACCOUNT)
        return account.partition(":")[0] if account != viewer.name else "default"


async def _name(viewer: Viewer) -> str:
    """Whom the API server takes the viewer for; empty where it doesn't say. Raises Rejected for an unknown token."""
    document = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer: dict[str, Any] = await viewer.api.create(_REVIEW, document)
    except kube_errors.Rejected as error:
        if error.status == 401:
            raise
        return ""
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")


def _named(request: web.Request, key: str, *, needed: bool = False) -> str:
    """The name that a request gives. Raises Denied for what can't be one."""
    given = request.query.get(key, "")
    if not (_NAME.fullmatch(given) if given else not needed):
        raise errors.Denied(f"{key} = {given[:80]!r}: not a name; accepted: the name of a {key}")
    return given


def _sent(request: web.Request, found: Body) -> web.Response:
    """The document, unless the client has this very one. Nothing on the way may keep it: it is for this viewer."""
    headers = {"ETag": f'"{found.tag}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept-Encoding"}
    headers["Vary"] += f", {names.HEADER_TOKEN}"
    if f'"{found.tag}"' in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=found.plain(), content_type="application/json", headers=headers)
    headers["Content-Encoding"] = "gzip"
    return web.Response(body=found.compressed, content_type="application/json", headers=headers)


def _failed(code: int, sentence: str) -> web.Response:
    headers = (
        {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"} if code == 401 else {"Cache-Control": "no-store"}
    )
    return web.Response(
        status=code, body=orjson.dumps({"error": sentence}), content_type="application/json", headers=headers
    )


def _status(error: errors.UnigpuError) -> int:
    if isinstance(error, kube_errors.Rejected):
        return error.status if error.status in (401, 403, 404) else 502
    if isinstance(error, errors.Unavailable):
        logs.event(logger, "API server doesn't answer", logging.WARNING, reason=error)
        return 503
    return 400 if isinstance(error, errors.Denied) else 500


def _files() -> list[tuple[str, bytes, str]]:
    """The page's own files, read once: path, content, type."""
    found = []
    for file in resources.files("page").joinpath("static").iterdir():
        ending = "." + file.name.rpartition(".")[2]
        path = "/" if file.name == "index.html" else f"/{file.name}"
        found.append((path, file.read_bytes(), _TYPES[ending]))
    return found


def _file(content: bytes, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": "no-cache"})

    return handle
