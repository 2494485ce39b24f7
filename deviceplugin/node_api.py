"""What the agent asks of the API server: its own node, the pods of that node, and events on them.

Every method raises `ServerAway`, and, where it doesn't say so, only that: a request that the API server refuses for
good today (RBAC, an object that was replaced) may succeed later, and the agent must outlive it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from unigpu import errors
from unigpu_kube import backoff, events, objects, pods
from unigpu_kube import errors as kube_errors
from unigpu_kube.client import Client, Json
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Reflector, Sink, Source

DEADLINE = 5.0
"""Seconds for one request; the kubelet waits 30 s for PreStartContainer."""
_LIST = 12.0
"""Seconds for a list of the node's pods, and all tries together: the kubelet waits for it too."""
_RELIST = 900.0
"""Seconds after which the pods are listed again, in case a watch missed one."""
_PAUSES = (0.5, 1.0)

T = TypeVar("T")


class ServerAway(errors.Unavailable):
    """The API server doesn't answer, or refuses."""


class Refused(ServerAway):
    """The API server answers, and refuses."""


class NodeApi:
    """The API server as seen from one node."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node

    async def pod(self, namespace: str, name: str) -> Json | None:
        """Return a pod as it is now; None where there is none."""
        return await _tried(lambda: self._client.find(objects.pod(namespace, name)))

    async def pods(self) -> list[Json]:
        """Return the node's pods as they are now."""
        try:
            async with asyncio.timeout(_LIST):
                return await _tried(lambda: self._client.items(objects.PODS, self._pods))
        except TimeoutError as error:
            raise ServerAway(f"the API server doesn't list the node's pods within {_LIST:g} s") from error

    async def node(self) -> Json:
        """Return the node as it is now."""
        return await _tried(lambda: self._client.get(objects.node(self._node)))

    async def patch_node(self, patch: Mapping[str, object]) -> None:
        """Merge into the node's metadata."""
        await _tried(lambda: self._client.patch(objects.node(self._node), patch))

    async def patch_node_status(self, patch: Mapping[str, object]) -> None:
        """Merge into the node's status."""
        await _tried(lambda: self._client.patch(f"{objects.node(self._node)}/status", patch))

    async def annotate_pod(self, pod: Ref, annotations: Mapping[str, str | None]) -> Json:
        """Set annotations of the pod with that UID, by way of its status; return the pod as it is then."""
        return await _tried(lambda: pods.annotate_by_status(self._client, pod, annotations))

    async def set_limits(self, pod: Ref, version: str, annotations: Mapping[str, str | None]) -> Json | None:
        """Set annotations that people may set too, or that go with them: the limits that the pod is to have.

        Return the pod, None where it has changed since. Raises Denied, with the webhook's reason, where the change
        isn't accepted.
        """
        try:
            return await backoff.retry(
                lambda: pods.annotate_by_status(self._client, pod, annotations, version), pauses=_PAUSES
            )
        except (kube_errors.Conflict, kube_errors.Missing):
            return None
        except kube_errors.Rejected as error:
            raise errors.Denied(error.message) from error

    async def create_event(self, event: Json) -> None:
        """Write an event, unless one of its name exists."""
        await _tried(lambda: events.create(self._client, event))

    def pod_reflector(self, sink: Sink[T]) -> Reflector[T]:
        """Return a reflector of the node's pods."""
        return Reflector(self._client, Source(objects.PODS, self._pods, relist_seconds=_RELIST), sink)

    def node_reflector(self, sink: Sink[T]) -> Reflector[T]:
        """Return a reflector of the node object."""
        return Reflector(self._client, Source(objects.NODES, {"fieldSelector": f"metadata.name={self._node}"}), sink)

    @property
    def _pods(self) -> dict[str, str | int]:
        return {"fieldSelector": f"spec.nodeName={self._node}"}


async def _tried(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await backoff.retry(call, pauses=_PAUSES)
    except kube_errors.Rejected as error:
        raise Refused(str(error)) from error
    except errors.Unavailable as error:
        raise ServerAway(str(error)) from error
