"""Asks the kubelet's pod-resources API which container holds which slots.

API: https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources
KEP 606: https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/606-compute-device-assignment
"""

import asyncio
import json
from pathlib import Path

import grpc
import grpc.aio

from deviceplugin.kubelet.slot_owner import Holder
from deviceplugin.kubelet.wire import pod_resources_pb2 as wire
from unigpu import errors, names

_TIMEOUT = 5.0
_SERVICE = "v1.PodResourcesLister"
_AGAIN = {
    "methodConfig": [
        {
            "name": [{"service": _SERVICE}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""A restarted kubelet breaks the connection, which only the next call notices: it is tried again."""
_OPTIONS = (
    ("grpc.service_config", json.dumps(_AGAIN)),
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class PodResources:
    """A client that makes one call for all callers that wait.

    Each caller gets the answer to a call that began after its own, never of one that was already under way: the kubelet
    may have allocated since. A hundred callers at once therefore cost two calls.
    """

    def __init__(self, socket: Path, timeout: float = _TIMEOUT) -> None:
        self._socket = socket
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None
        self._asking = asyncio.Lock()
        self._next: asyncio.Task[list[Holder]] | None = None

    async def holders(self) -> list[Holder]:
        """Return all containers that hold slots. Raises Unavailable."""
        if self._next is None:
            self._next = asyncio.create_task(self._turn())
        return await asyncio.shield(self._next)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close(None)

    async def _turn(self) -> list[Holder]:
        async with self._asking:
            self._next = None
            return await self._ask()

    async def _ask(self) -> list[Holder]:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=_OPTIONS)
        call = self._channel.unary_unary(
            f"/{_SERVICE}/List",
            request_serializer=wire.ListPodResourcesRequest.SerializeToString,
            response_deserializer=wire.ListPodResourcesResponse.FromString,
        )
        try:
            answer = await call(wire.ListPodResourcesRequest(), timeout=self._timeout, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise errors.Unavailable(f"the kubelet's pod-resources API doesn't answer: {error.details()}") from error
        return [
            Holder(pod.namespace, pod.name, container.name, frozenset(slots))
            for pod in answer.pod_resources
            for container in pod.containers
            if (
                slots := [
                    slot
                    for devices in container.devices
                    if devices.resource_name == names.RESOURCE_VGPU
                    for slot in devices.device_ids
                ]
            )
        ]
