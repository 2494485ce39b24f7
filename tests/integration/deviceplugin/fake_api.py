"""An API server that knows nodes and pods: get, list, watch, merge patch; and keeps events."""

import asyncio
import copy
import json
from typing import Any

from aiohttp import web

from unigpu import names

Object = dict[str, Any]


class FakeApi:
    """Objects by kind and key; every change gets a version and goes to all who watch."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Object]] = {"nodes": {}, "pods": {}, "events": {}}
        self.patches: list[str] = []
        self.node_patches: list[Object] = []
        """What annotations of pods were patched to, by the agent."""
        self.refusing: set[str] = set()
        """Methods that are answered with 503."""
        self.limits_refused = ""
        """Why the webhook refuses a change of limits; empty: it doesn't."""
        self.down = False
        self.reachable = asyncio.Event()
        """Until it is set, requests are taken and not answered."""
        self.reachable.set()
        self.answering = asyncio.Event()
        """Whether changes of pods are carried out: they wait until it is set."""
        self.answering.set()
        self.url = ""
        self._version = self._oldest = 1
        self._events: list[tuple[int, str, str, Object]] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(middlewares=[self._refuse_when_down])
        app.router.add_get("/api/v1/{kind:nodes|pods}", self._list)
        app.router.add_get("/api/v1/nodes/{name}", self._get_node)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}", self._get_pod)
        app.router.add_patch("/api/v1/namespaces/{namespace}/pods/{name}/status", self._patch_pod)
        app.router.add_post("/api/v1/namespaces/{namespace}/events", self._create_event)
        app.router.add_patch("/api/v1/nodes/{name}", self._patch)
        app.router.add_patch("/api/v1/nodes/{name}/status", self._patch)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        assert self._runner is not None
        self.reachable.set()
        await self.set_down(True)
        await self._runner.cleanup()

    async def put(self, kind: str, item: Object) -> None:
        """Create or replace."""
        key = self._key(item)
        await self._change("MODIFIED" if key in self.objects[kind] else "ADDED", kind, key, item)

    async def delete(self, kind: str, item: Object) -> None:
        key = self._key(item)
        await self._change("DELETED", kind, key, self.objects[kind][key])

    async def set_down(self, down: bool) -> None:
        """Refuse everything, and break off what is watched; or serve again."""
        async with self._changed:
            self.down = down
            self._changed.notify_all()

    def compact(self) -> None:
        """Forget what has happened, as etcd does: a watch can go on only from the present version."""
        self._oldest = self._version
        self._events.clear()

    def node(self, name: str) -> Object:
        return self.objects["nodes"][name]

    async def _change(self, what: str, kind: str, key: str, item: Object) -> None:
        async with self._changed:
            self._version += 1
            item = copy.deepcopy(item)
            item["metadata"]["resourceVersion"] = str(self._version)
            if what == "DELETED":
                del self.objects[kind][key]
            else:
                self.objects[kind][key] = item
            self._events.append((self._version, kind, what, item))
            self._changed.notify_all()

    @staticmethod
    def _key(item: Object) -> str:
        return "/".join(filter(None, (item["metadata"].get("namespace"), item["metadata"]["name"])))

    @web.middleware
    async def _refuse_when_down(self, request: web.Request, handler: Any) -> web.StreamResponse:
        await self.reachable.wait()
        if self.down or request.method in self.refusing:
            return web.json_response({"message": "shut down"}, status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _get_node(self, request: web.Request) -> web.Response:
        return self._one("nodes", request.match_info["name"])

    async def _get_pod(self, request: web.Request) -> web.Response:
        return self._one("pods", f"{request.match_info['namespace']}/{request.match_info['name']}")

    def _one(self, kind: str, key: str) -> web.Response:
        found = self.objects[kind].get(key)
        return web.json_response(found) if found else web.json_response({"message": "not found"}, status=404)

    async def _patch(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        name = request.match_info["name"]
        if name not in self.objects["nodes"]:
            return web.json_response({"message": "not found"}, status=404)
        patch = await request.json()
        self.node_patches.append(patch)
        await self._change("MODIFIED", "nodes", name, _merge(self.node(name), patch))
        return web.json_response(self.node(name))

    async def _patch_pod(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        key = f"{request.match_info['namespace']}/{request.match_info['name']}"
        patch = await request.json()
        await self.answering.wait()
        found = self.objects["pods"].get(key)
        if found is None:
            return web.json_response({"message": "not found"}, status=404)
        if patch["metadata"].get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
            return web.json_response({"message": "Precondition failed: UID in precondition"}, status=409)
        if patch["metadata"].get("resourceVersion") not in (None, found["metadata"]["resourceVersion"]):
            return web.json_response({"message": "the object has been modified"}, status=409)
        if self.limits_refused and names.ANNOTATION_LIMITS in patch["metadata"]["annotations"]:
            return web.json_response({"message": self.limits_refused}, status=422)
        self.patches.append(json.dumps(patch["metadata"]["annotations"]))
        await self._change("MODIFIED", "pods", key, _merge(found, patch))
        return web.json_response(self.objects["pods"][key])

    async def _create_event(self, request: web.Request) -> web.Response:
        event = await request.json()
        key = self._key(event)
        if key in self.objects["events"]:
            return web.json_response({"message": "already exists"}, status=409)
        self.objects["events"][key] = event
        return web.json_response(event, status=201)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        field, wanted = request.query["fieldSelector"].split("=")
        parts = field.split(".")

        def fits(item: Object) -> bool:
            return bool(item[parts[0]].get(parts[1]) == wanted)

        if request.query.get("watch") not in ("true", "True"):
            items = [item for item in self.objects[kind].values() if fits(item)]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        seen = int(request.query["resourceVersion"])
        if seen < self._oldest:
            return web.json_response({"kind": "Status", "code": 410, "message": "too old resource version"}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.down:
            for version, of, what, item in self._events:
                if version > seen and of == kind and fits(item):
                    try:
                        await response.write(json.dumps({"type": what, "object": item}).encode() + b"\n")
                    except ConnectionResetError:  # the watcher was killed, as some tests do
                        return response
            seen = self._version
            async with self._changed:
                await self._changed.wait_for(lambda: self.down or self._version > seen)  # noqa: B023
        return response


def _merge(target: Object, patch: Object) -> Object:
    """As RFC 7386: null removes."""
    merged = copy.deepcopy(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged
