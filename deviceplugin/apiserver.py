"""The API server: the node and its pods, as plain JSON."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException

from unigpu import errors, logs

logger = logging.getLogger(__name__)

_TIMEOUT = 5.0
_TRIES = 3
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)
_WATCH_SECONDS = 300
_MERGE = "application/merge-patch+json"


class Missing(errors.UnigpuError):
    """The object doesn't exist."""


class Exists(errors.Unavailable):
    """Another object has the name, or the object is another one than was meant."""


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects there are, at a moment after the request was sent."""

    objects: list[dict[str, Any]]
    asked: float
    """When the request was sent, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One object is new, has changed, or is gone."""

    object: dict[str, Any]
    gone: bool


class ApiServer:
    """A connection, to be opened in a running event loop."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._client: client.ApiClient | None = None

    async def open(self, kubeconfig: Path | None) -> None:
        """Load how to reach it. Raises Malformed."""
        configuration = client.Configuration()
        try:
            if kubeconfig is None:
                load: Callable[..., None] = config.load_incluster_config
                load(client_configuration=configuration)
            else:
                await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise errors.Malformed(f"how to reach the API server isn't known ({error}); --kubeconfig tells") from error
        self._client = client.ApiClient(configuration)

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()

    async def pod(self, namespace: str, name: str) -> dict[str, Any]:
        """One pod as it is now. Raises Missing, Unavailable."""
        return await self._ask(f"pod {namespace}/{name}", self._core.read_namespaced_pod, name, namespace)

    async def pods(self) -> list[dict[str, Any]]:
        """The node's pods as they are now. Raises Unavailable."""
        found = await self._ask(
            f"pods of node {self.node}", self._core.list_pod_for_all_namespaces, field_selector=self._of_node
        )
        return list(found.get("items") or [])

    async def read_node(self) -> dict[str, Any]:
        """The node as it is now. Raises Missing, Unavailable."""
        return await self._ask(f"node {self.node}", self._core.read_node, self.node)

    async def patch_node(self, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge into the node's metadata. Raises Missing, Unavailable."""
        return await self._ask(f"node {self.node}", self._core.patch_node, self.node, patch, _content_type=_MERGE)

    async def patch_node_status(self, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge into the node's status. Raises Missing, Unavailable."""
        return await self._ask(
            f"status of node {self.node}", self._core.patch_node_status, self.node, patch, _content_type=_MERGE
        )

    async def annotate_pod(self, namespace: str, name: str, uid: str, annotations: dict[str, str]) -> dict[str, Any]:
        """Set annotations of the pod with this UID; the pod as it is then. Raises Missing, Unavailable.

        By way of its status, which asks for less than the right to change pods.
        """
        patch = {"metadata": {"uid": uid, "annotations": annotations}}
        return await self._ask(
            f"pod {namespace}/{name}",
            self._core.patch_namespaced_pod_status,
            name,
            namespace,
            patch,
            _content_type=_MERGE,
        )

    async def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        """Write an event; one of that name that is there already is fine. Raises Unavailable."""
        try:
            await self._ask(f"event {event['metadata']['name']}", self._core.create_namespaced_event, namespace, event)
        except (Exists, Missing):
            # It is told already; or its namespace is being deleted.
            return

    def follow_pods(self) -> AsyncIterator[Listed | Changed]:
        """The node's pods, for ever: all of them, then each change; all again now and then."""
        return self._follow(self._core.list_pod_for_all_namespaces, self._of_node)

    def follow_node(self) -> AsyncIterator[Listed | Changed]:
        """The node itself, likewise."""
        return self._follow(self._core.list_node, f"metadata.name={self.node}")

    @property
    def _of_node(self) -> str:
        return f"spec.nodeName={self.node}"

    @property
    def _core(self) -> Any:
        return client.CoreV1Api(self._client)

    async def _ask(
        self, what: str, call: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSES[attempt - 1])
            try:
                return await _json(await call(*arguments, **options, _preload_content=False, _request_timeout=_TIMEOUT))
            except Missing as error:
                raise Missing(f"{what}: not found") from error
            except Exists as error:
                raise Exists(f"{what}: {error}") from error
            except errors.Unavailable as error:
                problem = str(error)
            except (aiohttp.ClientError, TimeoutError, OSError, ApiException) as error:
                problem = str(error) or type(error).__name__
        raise errors.Unavailable(f"the API server doesn't give {what} at present: {problem}")

    async def _follow(self, call: Callable[..., Awaitable[Any]], selector: str) -> AsyncIterator[Listed | Changed]:
        failures = 0
        while True:
            try:
                options = {"field_selector": selector, "_preload_content": False}
                asked = time.time()
                document = await _json(await call(**options, _request_timeout=_TIMEOUT * _TRIES))
                yield Listed(list(document.get("items") or []), asked)
                failures = 0
                # Once its time is over, all is listed anew: that mends whatever a watch may have missed.
                response = await call(
                    **options,
                    watch=True,
                    resource_version=document["metadata"]["resourceVersion"],
                    timeout_seconds=_WATCH_SECONDS,
                    _request_timeout=aiohttp.ClientTimeout(total=_WATCH_SECONDS + _TIMEOUT, sock_connect=_TIMEOUT),
                )
                async with response:
                    if response.status != 200:
                        raise errors.Unavailable(f"status {response.status}: {_message(await response.read())}")
                    async for line in response.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        yield Changed(event["object"], event["type"] == "DELETED")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, ApiException, errors.UnigpuError) as error:
                problem = str(error) or type(error).__name__
                logs.event(logger, "watch interrupted", logging.WARNING, selector=selector, problem=problem)
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    async with response:
        body = await response.read()
    if response.status == 404:
        raise Missing("not found")
    if response.status == 409:
        raise Exists(_message(body))
    if not 200 <= response.status < 300:
        raise errors.Unavailable(f"status {response.status}: {_message(body)}")
    document: dict[str, Any] = json.loads(body)
    return document


def _message(body: bytes) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["message"])
    return body[:200].decode(errors="replace")
