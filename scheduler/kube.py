"""The API server, as the scheduler needs it: lists, watches, bindings. Objects stay plain JSON.

The client library finds and authenticates the API server; its typed models are not used, because reading tens of
thousands of pods into them takes minutes.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config

from unigpu import errors, names

Json = dict[str, Any]

NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"

_CONNECTIONS = 128
"""At once; binding a gang of pods uses one for each."""
_LIST_SECONDS = 60.0
"""For one part of a long list."""
_MOST_LINE = 16 << 20
"""Bytes of one event of a watch."""


class Expired(errors.UnigpuError):
    """The API server no longer knows the version from which a list or watch was to go on: list again."""


class Rejected(errors.UnigpuError):
    """The API server refuses the request for good."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"API server answers {status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: list[Json]
    version: str
    """resourceVersion of the whole list."""
    more: str
    """Where the next part starts; empty: this was the last."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change that a watch shows."""

    kind: str
    """ADDED, MODIFIED, DELETED, or BOOKMARK, which carries nothing but the version."""
    document: Json

    @property
    def version(self) -> str:
        """resourceVersion from which a later watch goes on."""
        return str(self.document["metadata"]["resourceVersion"])


class Kube:
    """A connection to the API server.

    Every method raises Unavailable where no answer came that says how the request ended, Expired, and Rejected.
    """

    def __init__(self, api: client.ApiClient, deadline: float) -> None:
        self._api = api
        self._deadline = deadline

    async def page(self, path: str, selector: str, limit: int = 0, more: str = "") -> Page:
        """One part of a list, as the API server has it now; with no limit, a short list, in one part."""
        query = {"limit": str(limit)} | ({"fieldSelector": selector} if selector else {})
        if more:
            query["continue"] = more
        document = await self._ask(
            "GET", path, query, within=max(_LIST_SECONDS, self._deadline) if limit else self._deadline
        )
        metadata = document["metadata"]
        return Page(document.get("items") or [], metadata["resourceVersion"], metadata.get("continue") or "")

    async def watch(self, path: str, selector: str, version: str, seconds: int, silence: float) -> AsyncIterator[Event]:
        """Changes after `version`, until the API server ends the watch, after about `seconds`."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        } | ({"fieldSelector": selector} if selector else {})
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._deadline, sock_read=silence)
        async with self._request("GET", path, query, limits) as response:
            await _check(response)
            async for line in _lines(response.content):
                document = json.loads(line)
                kind, found = document["type"], document["object"]
                if kind == "ERROR":
                    raise _error(int(found.get("code") or 500), str(found.get("message") or found))
                yield Event(kind, found)

    async def pod(self, namespace: str, name: str) -> Json | None:
        """The pod as it is now; None if there is none."""
        try:
            return await self._ask("GET", f"/api/v1/namespaces/{namespace}/pods/{name}", within=self._deadline)
        except Rejected as error:
            if error.status == 404:
                return None
            raise

    async def bind(self, namespace: str, name: str, uid: str, node: str, allocation: str) -> None:
        """Bind the pod with that UID to the node and give it its allocation, in one write."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "annotations": {names.ANNOTATION_ALLOCATION: allocation},
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
        await self._ask("POST", path, body=body, within=self._deadline)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None, *, within: float
    ) -> Json:
        limits = aiohttp.ClientTimeout(total=within)
        async with self._request(method, path, query or {}, limits, body) as response:
            await _check(response)
            document: Json = json.loads(await response.read())
            return document

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
        body: Json | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            response: aiohttp.ClientResponse = await self._api.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=limits,
            )
            async with response:
                yield response
        except (aiohttp.ClientError, config.ConfigException, TimeoutError, OSError) as error:
            raise errors.Unavailable(f"API server doesn't answer {method} {path}: {error!r}") from error
        except ValueError as error:
            raise errors.Unavailable(f"API server's answer to {method} {path} is cut off: {error}") from error


@contextlib.asynccontextmanager
async def connect(kubeconfig: Path | None, deadline: float) -> AsyncIterator[Kube]:
    """A connection as the kubeconfig says, or else as a pod has it. `deadline` is in seconds, for short requests.

    Raises Malformed where neither says how to reach the API server.
    """
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = _CONNECTIONS
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise errors.Malformed(f"how to reach the API server isn't known ({error}); --kubeconfig tells") from error
    async with client.ApiClient(configuration) as api:
        api.user_agent = "unigpu-scheduler"
        yield Kube(api, deadline)


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    text = await response.text()
    try:
        message = str(json.loads(text).get("message") or text)
    except (ValueError, AttributeError):
        message = text
    raise _error(response.status, message)


def _error(status: int, message: str) -> errors.UnigpuError:
    if status == 410:
        return Expired(message)
    if status >= 500 or status == 429:
        # Also a 500 or 504 may have been carried out.
        return errors.Unavailable(f"API server answers {status}: {message}")
    return Rejected(status, message)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the last one must be whole."""
    rest = b""
    async for chunk in stream.iter_any():
        first, *others = chunk.split(b"\n")
        rest += first
        for part in others:
            if rest.strip():
                yield rest
            rest = part
        if len(rest) > _MOST_LINE:
            raise errors.Unavailable(f"API server sends an event of more than {_MOST_LINE} bytes")
    if rest.strip():
        raise errors.Unavailable("API server ended a watch in the middle of an event")
