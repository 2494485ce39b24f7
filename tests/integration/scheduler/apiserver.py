"""A small API server for tests: nodes and pods, with lists, watches and bindings as the real one has them.

Every write gives the object a new resourceVersion and is kept as an event; a watch replays the events after the version
it names and then follows. `compact` forgets events, after which older versions are answered with 410. Field selectors
decide on each side of a change, so an object that stops matching is shown as DELETED. Bindings check what the real ones
check.

Faults are set by tests: answers that get lost before or after the write, watches that break or lag, an API server that
doesn't answer at all.
"""

import asyncio
import base64
import copy
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

Json = dict[str, Any]
BUDGETS = "poddisruptionbudgets"


class ApiServer:
    """Nodes and pods, on a port of 127.0.0.1."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Json]] = {"nodes": {}, "pods": {}, "namespaces": {}, BUDGETS: {}}
        self.events: list[tuple[int, str, Json | None, Json | None]] = []
        """(version, resource, before, after)."""
        self.compacted = 100
        self.bindings: list[Json] = []
        """Every binding that was received, also the refused ones."""
        self.lists = 0
        self.watches = 0
        self.reads = 0
        """Of single pods."""
        self.lose_before = 0
        """So many bindings to come are not carried out, and their connection breaks."""
        self.lose_after = 0
        """So many bindings to come are carried out, and their connection breaks."""
        self.slow = 0
        """So many bindings to come are carried out once `land` is set, also if their client has gone by then."""
        self.land = asyncio.Event()
        self.binding_status: int | None = None
        """Answer bindings with this status, but for the slow ones."""
        self.hold_answers = asyncio.Event()
        """Cleared: bindings are carried out, and their answers wait."""
        self.hold_answers.set()
        self.writes: int | None = None
        """So many bindings are carried out, and later ones wait; None: all."""
        self.show_events = asyncio.Event()
        """Cleared: watches show nothing."""
        self.show_events.set()
        self.status: int | None = None
        """Answer everything with this status."""
        self.nominated: list[tuple[str, str | None]] = []
        """Each nomination that was written: pod, and node."""
        self.annotating: int | None = None
        """So many changes of annotations and nominations are carried out, and later ones refused; None: all."""
        self.annotating_status = 422
        """What those are refused with."""
        self.refused = 0
        self.refusing: dict[str, int] = {}
        """Refuse changes of annotations and nominations of these pods, by name, with a status."""
        self.refusals: list[str] = []
        """Names of the pods for which that was done."""
        self.listing_status: int | None = None
        """Answer lists of a node's pods with this status."""
        self.said: list[Json] = []
        """Events that clients wrote; of those with one name the first."""
        self.saying: list[Json] = []
        """Events that clients sent, also the refused ones."""
        self.hold_saying = asyncio.Event()
        """Cleared: events wait before they are written."""
        self.hold_saying.set()
        self.saying_status: int | None = None
        """Answer events with this status."""
        self._changed = asyncio.Condition()
        self._watchers: list[web.Request] = []
        self._runner: web.AppRunner | None = None
        self._uids = 0
        self.port = 0

    async def start(self) -> None:
        app = web.Application(middlewares=[self._faults])
        for resource in self.objects:
            group = "/apis/policy/v1" if resource == BUDGETS else "/api/v1"
            app.router.add_get(f"{group}/{resource}", self._get_many(resource))
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}", self._get_pod)
        app.router.add_post("/api/v1/namespaces/{namespace}/pods/{name}/binding", self._bind)
        app.router.add_patch("/api/v1/namespaces/{namespace}/pods/{name}/status", self._annotate)
        app.router.add_post("/api/v1/namespaces/{namespace}/events", self._say)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self.break_watches()
            await self._runner.cleanup()
            self._runner = None

    def kubeconfig(self) -> str:
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
                "users": [{"name": "test", "user": {"token": "test"}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "current-context": "test",
            }
        )

    # What tests do to the cluster.

    async def add_node(self, name: str, annotations: Json | None = None, labels: Json | None = None) -> Json:
        metadata = {"name": name, "uid": self._uid(), "annotations": annotations or {}, "labels": labels or {}}
        return await self._write("nodes", name, {"metadata": metadata, "spec": {}, "status": {}})

    async def add_namespace(self, name: str, annotations: Json | None = None) -> Json:
        metadata = {"name": name, "uid": self._uid(), "annotations": annotations or {}, "labels": {}}
        return await self._write("namespaces", name, {"metadata": metadata})

    async def add_budget(self, name: str, labels: Json, allowed: int) -> Json:
        document: Json = {
            "metadata": {"name": name, "namespace": "default", "uid": self._uid()},
            "spec": {"selector": {"matchLabels": labels}},
            "status": {"disruptionsAllowed": allowed},
        }
        return await self._write(BUDGETS, f"default/{name}", document)

    async def add_pod(self, name: str, annotations: Json | None = None, **more: Any) -> Json:
        document: Json = {
            "metadata": {"name": name, "namespace": "default", "uid": self._uid(), "annotations": annotations or {}},
            "spec": {"schedulerName": "unigpu-scheduler", "containers": [{"name": "main"}], **more},
            "status": {"phase": "Pending"},
        }
        return await self._write("pods", f"default/{name}", document)

    async def change(self, resource: str, key: str, how: Callable[[Json], None]) -> Json:
        document = copy.deepcopy(self.objects[resource][key])
        how(document)
        return await self._write(resource, key, document)

    async def remove(self, resource: str, key: str) -> None:
        before = self.objects[resource].pop(key)
        self.version += 1
        self.events.append((self.version, resource, before, None))
        await self._tell()

    async def compact(self) -> None:
        """Forget all events so far."""
        self.compacted = self.version
        self.events.clear()

    async def allow(self, writes: int | None) -> None:
        """Carry out so many bindings; None: all. Those whose client has gone never are."""
        self.writes = writes
        await self._tell()

    async def break_watches(self) -> None:
        """Cut the connections of all watches."""
        for request in tuple(self._watchers):
            if request.transport is not None:
                request.transport.abort()
        await self._tell()

    def pod(self, name: str) -> Json:
        return self.objects["pods"][f"default/{name}"]

    # What clients see.

    @web.middleware
    async def _faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.status is not None:
            return _status(self.status, "told to fail")
        return await handler(request)

    def _get_many(self, resource: str) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            if request.query.get("watch") == "true":
                return await self._watch(request, resource)
            if self.listing_status is not None and "spec.nodeName=" in request.query.get("fieldSelector", ""):
                self.refused += 1
                return _status(self.listing_status, "told to refuse")
            return self._list(request, resource)

        return answer

    def _list(self, request: web.Request, resource: str) -> web.Response:
        selector = _selector(request.query.get("fieldSelector", ""))
        limit = int(request.query.get("limit", 0))
        version, after = self.version, ""
        if token := request.query.get("continue"):
            version, after = json.loads(base64.b64decode(token))
            if version < self.compacted:
                return _status(410, "the provided continue parameter is too old")
        found = [
            (key, document)
            for key, document in sorted(self._at(resource, version).items())
            if selector(document) and key > after
        ]
        metadata: Json = {"resourceVersion": str(version)}
        if limit and len(found) > limit:
            found = found[:limit]
            metadata["continue"] = base64.b64encode(json.dumps([version, found[-1][0]]).encode()).decode()
        self.lists += 1
        return web.json_response({"kind": "List", "metadata": metadata, "items": [document for _, document in found]})

    def _at(self, resource: str, version: int) -> dict[str, Json]:
        """The objects as they were at that version."""
        state = dict(self.objects[resource])
        for at, kind, before, after in reversed(self.events):
            if at <= version:
                break
            if kind != resource:
                continue
            if before is None and after is not None:
                del state[_key(after)]
            elif before is not None:
                state[_key(before)] = before
        return state

    async def _watch(self, request: web.Request, resource: str) -> web.StreamResponse:
        selector = _selector(request.query.get("fieldSelector", ""))
        seen = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if seen < self.compacted:
            await _send(response, {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
            return response
        self.watches += 1
        self._watchers.append(request)
        deadline = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", 3600))
        try:
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                await self.show_events.wait()
                if request.transport is None or request.transport.is_closing():
                    return response
                for at, kind, before, after in tuple(self.events):
                    if at <= seen:
                        continue
                    seen = at
                    event = _event(selector, before, after, at) if kind == resource else None
                    if event is not None:
                        await _send(response, event)
                async with self._changed:
                    if self.version == seen or not self.show_events.is_set():
                        try:
                            await asyncio.wait_for(self._changed.wait(), min(left, 1.0))
                        except TimeoutError:
                            bookmark = {"metadata": {"resourceVersion": str(seen)}}
                            await _send(response, {"type": "BOOKMARK", "object": bookmark})
        except ConnectionError:
            pass
        finally:
            self._watchers.remove(request)
        return response

    async def _get_pod(self, request: web.Request) -> web.Response:
        self.reads += 1
        document = self.objects["pods"].get(_path_key(request))
        return _status(404, "pod not found") if document is None else web.json_response(document)

    async def _bind(self, request: web.Request) -> web.StreamResponse:
        binding = await request.json()
        self.bindings.append(binding)
        if self.lose_before:
            self.lose_before -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.slow:
            self.slow -= 1
            await self.land.wait()
        elif self.binding_status is not None:
            return _status(self.binding_status, "told to refuse bindings")
        else:
            async with self._changed:
                await self._changed.wait_for(lambda: self.writes != 0)
            if request.transport is None or request.transport.is_closing():
                return web.Response()
            if self.writes is not None:
                self.writes -= 1
        key = _path_key(request)
        document = self.objects["pods"].get(key)
        metadata = binding["metadata"]
        if document is None:
            return _status(404, f"pods {key} not found")
        if metadata.get("uid") and metadata["uid"] != document["metadata"]["uid"]:
            return _status(409, f"Precondition failed: UID in precondition: {metadata['uid']}")
        if document["metadata"].get("deletionTimestamp"):
            return _status(409, f"pod {key} is being deleted, cannot be assigned to a host")
        if document["spec"].get("nodeName"):
            return _status(409, f"pod {key} is already assigned to node {document['spec']['nodeName']}")
        document = copy.deepcopy(document)
        document["spec"]["nodeName"] = binding["target"]["name"]
        document["metadata"].setdefault("annotations", {}).update(metadata.get("annotations") or {})
        await self._write("pods", key, document)
        if self.lose_after:
            self.lose_after -= 1
            assert request.transport is not None
            request.transport.abort()
        await self.hold_answers.wait()
        return _status(201, "")

    async def _annotate(self, request: web.Request) -> web.Response:
        """A merge patch of annotations or of the nomination, by way of the status, with the preconditions that the real
        one checks."""
        key, patch = _path_key(request), await request.json()
        assert request.content_type == "application/merge-patch+json"
        document = self.objects["pods"].get(key)
        if document is None:
            return _status(404, f"pods {key} not found")
        wanted, present = patch["metadata"], document["metadata"]
        if any(wanted[name] != present[name] for name in ("uid", "resourceVersion") if name in wanted):
            return _status(409, "the object has been modified")
        name = document["metadata"]["name"]
        if name in self.refusing:
            self.refusals.append(name)
            return _status(self.refusing[name], f"told to refuse {name}")
        if self.annotating == 0:
            self.refused += 1
            return _status(self.annotating_status, "told to refuse")
        if self.annotating is not None:
            self.annotating -= 1
        changed = {**present.get("annotations", {}), **wanted.get("annotations", {})}
        document = copy.deepcopy(document)
        for name, value in patch.get("status", {}).items():
            self.nominated.append((document["metadata"]["name"], value))
            document["status"][name] = value
        document["metadata"]["annotations"] = {name: text for name, text in changed.items() if text is not None}
        return web.json_response(await self._write("pods", key, document))

    async def _say(self, request: web.Request) -> web.Response:
        event = await request.json()
        self.saying.append(event)
        await self.hold_saying.wait()
        if self.saying_status is not None:
            return _status(self.saying_status, "told to refuse events")
        if any(one["metadata"]["name"] == event["metadata"]["name"] for one in self.said):
            return _status(409, "event exists")
        self.said.append(event)
        return web.json_response(event, status=201)

    async def _write(self, resource: str, key: str, document: Json) -> Json:
        before = self.objects[resource].get(key)
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)
        self.objects[resource][key] = document
        self.events.append((self.version, resource, before, document))
        await self._tell()
        return document

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"


def _key(document: Json) -> str:
    metadata = document["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else metadata["name"]


def _path_key(request: web.Request) -> str:
    return f"{request.match_info['namespace']}/{request.match_info['name']}"


def _status(code: int, message: str) -> web.Response:
    kind = "Success" if code < 300 else "Failure"
    return web.json_response({"kind": "Status", "status": kind, "message": message, "code": code}, status=code)


def _selector(text: str) -> Callable[[Json], bool]:
    terms = []
    for term in filter(None, text.split(",")):
        equal = "!=" not in term
        path, _, value = term.partition("=" if equal else "!=")
        terms.append((path.split("."), equal, value))

    def matches(document: Json) -> bool:
        for path, equal, value in terms:
            found: Any = document
            for part in path:
                found = (found or {}).get(part)
            if ((found or "") == value) is not equal:
                return False
        return True

    return matches


def _event(selector: Callable[[Json], bool], before: Json | None, after: Json | None, version: int) -> Json | None:
    was = before is not None and selector(before)
    now = after is not None and selector(after)
    if now:
        return {"type": "MODIFIED" if was else "ADDED", "object": after}
    if was:
        gone = copy.deepcopy(after if after is not None else before)
        assert gone is not None
        gone["metadata"]["resourceVersion"] = str(version)
        return {"type": "DELETED", "object": gone}
    return None


async def _send(response: web.StreamResponse, event: Json) -> None:
    await response.write(json.dumps(event).encode() + b"\n")
