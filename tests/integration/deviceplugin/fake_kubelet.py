"""A kubelet as far as a device plugin sees it: the same protocols, on the same sockets, with the same files."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from deviceplugin.kubelet.wire import kubelet_plugin_pb2 as plugin
from deviceplugin.kubelet.wire import pod_resources_pb2 as resources

Pod = Mapping[str, Any]


class FakeKubelet:
    """Started and stopped like the real one; what it allocated outlives it in its checkpoint."""

    def __init__(self, root: Path) -> None:
        self.plugins = root / "device-plugins"
        self.checkpoint = self.plugins / "kubelet_internal_checkpoint"
        self.pod_resources = root / "pod-resources" / "kubelet.sock"
        self.devices: dict[str, str] = {}
        """Health by device, of the resource that is registered."""
        self.options: plugin.DevicePluginOptions | None = None
        self.registrations = 0
        self.lists = 0
        """Questions to the pod-resources API."""
        self.answering = asyncio.Event()
        """Whether they are answered."""
        self.answering.set()
        self.breaking = 0
        """Questions that get no answer, as when the connection breaks under them."""
        self.pods: dict[str, Pod] = {}
        self.allocated: dict[tuple[str, str], list[str]] = {}
        self.second: dict[tuple[str, str], str] = {}
        """Resource of which another device plugin gave the container a device, by pod UID and container."""
        self.cdi: dict[tuple[str, str], list[str]] = {}
        self.resource = ""
        self._channel: grpc.aio.Channel | None = None
        self._servers: list[grpc.aio.Server] = []
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.plugins.mkdir(parents=True, exist_ok=True)
        self.pod_resources.parent.mkdir(parents=True, exist_ok=True)
        for entry in self.plugins.iterdir():
            if entry.is_socket():
                entry.unlink()
        self.pod_resources.unlink(missing_ok=True)
        await self._serve(
            self.plugins / "kubelet.sock",
            "v1beta1.Registration",
            {
                "Register": grpc.unary_unary_rpc_method_handler(
                    self._register, plugin.RegisterRequest.FromString, plugin.Empty.SerializeToString
                )
            },
        )
        await self._serve(
            self.pod_resources,
            "v1.PodResourcesLister",
            {
                "List": grpc.unary_unary_rpc_method_handler(
                    self._list,
                    resources.ListPodResourcesRequest.FromString,
                    resources.ListPodResourcesResponse.SerializeToString,
                )
            },
        )

    async def stop(self) -> None:
        """As if killed: connections end, and nothing is said to anyone."""
        for server in self._servers:
            await server.stop(None)
        self._servers.clear()
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        if self._channel is not None:
            await self._channel.close(None)
        self.devices = {}

    async def drop_plugin(self) -> None:
        """Lose the connection to the plugin, while both go on."""
        assert self._channel is not None
        await self._channel.close(None)

    async def admit(self, pod: Pod) -> None:
        """Allocate for all containers, as at admission: a plain init container's slots are used again by later ones."""
        uid = pod["metadata"]["uid"]
        self.pods[uid] = pod
        reusable: list[str] = []
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            wanted = int(container.get("resources", {}).get("limits", {}).get(self.resource, 0))
            if not wanted:
                continue
            taken = {slot for slots in self.allocated.values() for slot in slots}
            free = [slot for slot, health in self.devices.items() if health == "Healthy" and slot not in taken]
            slots = [*reusable, *free][:wanted]
            assert len(slots) == wanted, f"only {len(slots)} slots are free, of {wanted}"
            self.allocated[uid, container["name"]] = slots
            answer = await self._call("Allocate", self._allocate_request(slots), plugin.AllocateResponse)
            (mine,) = answer.container_responses
            self.cdi[uid, container["name"]] = [device.name for device in mine.cdi_devices]
            plain = container in pod["spec"].get("initContainers", ()) and container.get("restartPolicy") != "Always"
            reusable = list(dict.fromkeys([*reusable, *slots])) if plain else [s for s in reusable if s not in slots]
        self._write_checkpoint()

    async def prestart(self, pod: Pod, container: str) -> None:
        """Raises grpc.aio.AioRpcError where the plugin refuses."""
        slots = self.allocated[pod["metadata"]["uid"], container]
        request = plugin.PreStartContainerRequest(devices_ids=reversed(slots))
        await self._call("PreStartContainer", request, plugin.PreStartContainerResponse)

    def give(self, uid: str, container: str, resource: str) -> None:
        """Another device plugin gives the container a device too, one of this resource."""
        self.second[uid, container] = resource
        self._write_checkpoint()

    def forget(self, pod: Pod) -> None:
        """The pod has ended: its slots are free."""
        uid = pod["metadata"]["uid"]
        del self.pods[uid]
        self.allocated = {key: slots for key, slots in self.allocated.items() if key[0] != uid}
        self._write_checkpoint()

    @property
    def healthy(self) -> int:
        return sum(health == "Healthy" for health in self.devices.values())

    async def _serve(self, socket: Path, service: str, handlers: dict[str, Any]) -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._servers.append(server)

    async def _register(self, request: plugin.RegisterRequest, context: Any) -> plugin.Empty:
        if request.version != "v1beta1":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "version")
        if self._channel is not None:
            await self._channel.close(None)
        self._channel = grpc.aio.insecure_channel(f"unix:{self.plugins / request.endpoint}")
        self.resource = request.resource_name
        self.options = await self._call("GetDevicePluginOptions", plugin.Empty(), plugin.DevicePluginOptions)
        self._listening = asyncio.create_task(self._listen(self._channel))
        self.registrations += 1
        return plugin.Empty()

    async def _listen(self, channel: grpc.aio.Channel) -> None:
        call = channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=plugin.Empty.SerializeToString,
            response_deserializer=plugin.ListAndWatchResponse.FromString,
        )
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for response in call(plugin.Empty()):
                self.devices = {device.ID: device.health for device in response.devices}
        if channel is self._channel:
            self.devices = dict.fromkeys(self.devices, "Unhealthy")

    async def _list(self, _request: Any, context: Any) -> resources.ListPodResourcesResponse:
        self.lists += 1
        if self.breaking:
            self.breaking -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        await self.answering.wait()
        answer = resources.ListPodResourcesResponse()
        for uid, pod in self.pods.items():
            entry = answer.pod_resources.add(name=pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])
            late = pod["spec"]["containers"]
            sidecars = [c for c in pod["spec"].get("initContainers", ()) if c.get("restartPolicy") == "Always"]
            for container in (*sidecars, *late):
                listed = entry.containers.add(name=container["name"])
                slots = self.allocated.get((uid, container["name"]))
                if slots:
                    listed.devices.add(resource_name=self.resource, device_ids=slots)
        return answer

    @staticmethod
    def _allocate_request(slots: list[str]) -> plugin.AllocateRequest:
        return plugin.AllocateRequest(container_requests=[plugin.ContainerAllocateRequest(devices_ids=slots)])

    async def _call(self, method: str, request: Any, answer: Any) -> Any:
        assert self._channel is not None
        call = self._channel.unary_unary(
            f"/v1beta1.DevicePlugin/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return await call(request, timeout=30)

    def _write_checkpoint(self) -> None:
        entries = [
            {
                "PodUID": uid,
                "ContainerName": container,
                "ResourceName": self.resource,
                "DeviceIDs": {"-1": slots},
                "AllocResp": base64.b64encode(b"").decode(),
            }
            for (uid, container), slots in self.allocated.items()
        ]
        entries += [
            {
                "PodUID": uid,
                "ContainerName": container,
                "ResourceName": resource,
                "DeviceIDs": {"-1": ["second-0"]},
                "AllocResp": "",
            }
            for (uid, container), resource in self.second.items()
        ]
        document = {"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {self.resource: list(self.devices)}}}
        beside = self.checkpoint.with_suffix(".new")
        beside.write_text(json.dumps({**document, "Checksum": 0}))
        beside.rename(self.checkpoint)
