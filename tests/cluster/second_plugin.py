"""A second device plugin, as NVIDIA's is: it registers a resource with the kubelet and gives out devices of it.

    python -m tests.cluster.second_plugin --folder /var/lib/kubelet/device-plugins --resource nvidia.com/gpu

It runs on the node until it is ended.
"""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from deviceplugin.kubelet.wire import kubelet_plugin_pb2 as wire

_API = "v1beta1"
_SOCKET = "second.sock"
_DEVICES = 2


class SecondPlugin:
    """Offers devices that are always healthy."""

    async def options(self, _request: wire.Empty, _context: Any) -> wire.DevicePluginOptions:
        """Answer GetDevicePluginOptions."""
        return wire.DevicePluginOptions()

    async def devices(self, _request: wire.Empty, _context: Any) -> AsyncIterator[wire.ListAndWatchResponse]:
        """Answer ListAndWatch: once, and then never again."""
        names = (f"second-{number}" for number in range(_DEVICES))
        yield wire.ListAndWatchResponse(devices=[wire.Device(ID=name, health="Healthy") for name in names])
        await asyncio.Event().wait()

    async def allocate(self, request: wire.AllocateRequest, _context: Any) -> wire.AllocateResponse:
        """Answer Allocate: the devices are environment variables, so that the container shows what it got."""
        answer = wire.AllocateResponse()
        for container in request.container_requests:
            answer.container_responses.add(envs={"SECOND_PLUGIN": ",".join(container.devices_ids)})
        return answer

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """Return the service."""
        empty = wire.Empty.FromString
        return grpc.method_handlers_generic_handler(
            f"{_API}.DevicePlugin",
            {
                "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(
                    self.options, empty, wire.DevicePluginOptions.SerializeToString
                ),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                    self.devices, empty, wire.ListAndWatchResponse.SerializeToString
                ),
                "Allocate": grpc.unary_unary_rpc_method_handler(
                    self.allocate, wire.AllocateRequest.FromString, wire.AllocateResponse.SerializeToString
                ),
            },
        )


async def serve(folder: Path, resource: str) -> None:
    """Register with the kubelet and serve until cancelled."""
    socket = folder / _SOCKET
    with contextlib.suppress(FileNotFoundError):
        socket.unlink()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((SecondPlugin().handlers(),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    options = (("grpc.default_authority", "localhost"),)
    async with grpc.aio.insecure_channel(f"unix:{folder / 'kubelet.sock'}", options=options) as channel:
        register = channel.unary_unary(
            f"/{_API}.Registration/Register",
            request_serializer=wire.RegisterRequest.SerializeToString,
            response_deserializer=wire.Empty.FromString,
        )
        await register(wire.RegisterRequest(version=_API, endpoint=_SOCKET, resource_name=resource))
    print("registered", flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="Offer a resource to the kubelet of this node.")
    parser.add_argument("--folder", type=Path, required=True, help="the kubelet's folder of device plugins")
    parser.add_argument("--resource", required=True, help="the resource")
    given = parser.parse_args()
    asyncio.run(serve(given.folder, given.resource))


if __name__ == "__main__":
    main()
