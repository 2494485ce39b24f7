"""The device plugin's side of the kubelet: a gRPC server on our socket, and its registration.

The kubelet forgets its plugins when it restarts, and removes their sockets; it also drops one whose stream of devices
breaks off. Each of these is seen by looking, and mended in one way: serve anew, register anew.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from deviceplugin.kubelet.wire import kubelet_plugin_pb2 as wire
from unigpu import cdi, errors, logs, names

logger = logging.getLogger(__name__)

API = "v1beta1"
_KUBELET = "kubelet.sock"
_TIMEOUT = 5.0
_UNHEARD = 5.0
"""Seconds without a stream of devices after which a registration counts as lost."""
_GRACE = 1.0
_QUICK = 0.02
"""Seconds between two looks at the sockets while no kubelet listens. One that restarts refuses pods for want of devices
until we have registered, and it takes pods soon after its socket is there."""

Identity = tuple[int, int] | None


def slots(gpus: int, shares_per_gpu: int) -> tuple[str, ...]:
    """IDs of all slots of a node: opaque, and tied to no GPU."""
    return tuple(f"slot-{number:04d}" for number in range(gpus * shares_per_gpu))


class Plugin:
    """One resource, served to one kubelet."""

    def __init__(
        self,
        folder: Path,
        poll: float,
        allocated: Callable[[Sequence[str]], Awaitable[None]],
        prestart: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self.registered = False
        self._folder = folder
        self._socket = folder / names.PLUGIN_SOCKET
        self._poll = poll
        self._allocated = allocated
        self._prestart = prestart
        self._slots: tuple[str, ...] = ()
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None
        self._ours: Identity = None
        self._kubelet: Identity = None
        self._streams = 0
        self._unheard = asyncio.Event()
        self._unheard.set()
        self._heard = 0.0

    async def offer(self, ids: tuple[str, ...]) -> None:
        """Offer these slots. The first offer starts the service; fewer than before are ignored: they may be in use."""
        if len(ids) > len(self._slots):
            async with self._changed:
                self._slots = ids
                self._changed.notify_all()

    async def serve(self) -> None:
        """Never ends by itself; stops the server when it is cancelled."""
        problem = ""
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._slots))
            while True:
                reason = self._wrong()
                if reason:
                    self.registered = False
                    try:
                        await self._restart()
                        logs.event(logger, "registered with the kubelet", reason=reason, slots=len(self._slots))
                        problem = ""
                    except (errors.Unavailable, OSError) as error:
                        if str(error) != problem:
                            logs.event(logger, "can't register with the kubelet", logging.WARNING, problem=error)
                        problem = str(error)
                await self._pause()
        finally:
            await self._stop()

    async def _pause(self) -> None:
        """Until the next look is due, the kubelet stops to listen, or a socket comes or goes while it doesn't."""
        seen = self._sockets()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll):
                await self._unheard.wait()
                # Files, which nobody tells us about.
                while self._streams == 0 and self._sockets() == seen:  # noqa: ASYNC110
                    await asyncio.sleep(_QUICK)

    def _sockets(self) -> tuple[Identity, Identity]:
        return _identity(self._folder / _KUBELET), _identity(self._socket)

    def _wrong(self) -> str | None:
        """Why the registration has to be made anew, or None."""
        if not self.registered:
            return "not registered"
        if _identity(self._socket) != self._ours:
            return "our socket is gone"
        kubelet = _identity(self._folder / _KUBELET)
        if kubelet is not None and kubelet != self._kubelet:
            return "the kubelet's socket is another"
        if self._streams == 0 and time.monotonic() - self._heard > _UNHEARD:
            return "the kubelet doesn't listen to our devices"
        return None

    async def _restart(self) -> None:
        # Earlier streams end before the registration: the kubelet would take their end for that of the new one.
        await self._stop()
        kubelet = _identity(self._folder / _KUBELET)
        if kubelet is None:
            raise errors.Unavailable(f"the kubelet has no socket {self._folder / _KUBELET} yet")
        beside = self._folder / f".{names.PLUGIN_SOCKET}.new"
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._handlers(),))
        try:
            server.add_insecure_port(f"unix:{beside}")
        except RuntimeError as error:
            raise errors.Unavailable(f"can't listen on {beside}: {error}") from error
        await server.start()
        self._server = server
        beside.rename(self._socket)
        self._ours = _identity(self._socket)
        await self._register()
        self._kubelet, self._heard, self.registered = kubelet, time.monotonic(), True

    async def _register(self) -> None:
        options = (("grpc.default_authority", "localhost"),)
        async with grpc.aio.insecure_channel(f"unix:{self._folder / _KUBELET}", options=options) as channel:
            call = channel.unary_unary(
                f"/{API}.Registration/Register",
                request_serializer=wire.RegisterRequest.SerializeToString,
                response_deserializer=wire.Empty.FromString,
            )
            request = wire.RegisterRequest(
                version=API,
                endpoint=names.PLUGIN_SOCKET,
                resource_name=names.RESOURCE_VGPU,
                options=wire.DevicePluginOptions(pre_start_required=True),
            )
            try:
                await call(request, timeout=_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                raise errors.Unavailable(f"the kubelet doesn't take the registration: {error.details()}") from error

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            ours = self._ours
            async with self._changed:
                self._ours = None
                self._changed.notify_all()
            await server.stop(_GRACE)
            if _identity(self._socket) == ours:
                self._socket.unlink(missing_ok=True)

    def _handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        return grpc.method_handlers_generic_handler(
            f"{API}.DevicePlugin",
            {
                "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(
                    self._options, wire.Empty.FromString, wire.DevicePluginOptions.SerializeToString
                ),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                    self._list, wire.Empty.FromString, wire.ListAndWatchResponse.SerializeToString
                ),
                "Allocate": grpc.unary_unary_rpc_method_handler(
                    self._allocate, wire.AllocateRequest.FromString, wire.AllocateResponse.SerializeToString
                ),
                "PreStartContainer": grpc.unary_unary_rpc_method_handler(
                    self._start,
                    wire.PreStartContainerRequest.FromString,
                    wire.PreStartContainerResponse.SerializeToString,
                ),
            },
        )

    async def _options(self, _request: wire.Empty, _context: Any) -> wire.DevicePluginOptions:
        return wire.DevicePluginOptions(pre_start_required=True)

    async def _list(self, _request: wire.Empty, _context: Any) -> AsyncIterator[wire.ListAndWatchResponse]:
        mine = self._ours
        self._streams += 1
        self._unheard.clear()
        try:
            while self._ours == mine:
                sent = self._slots
                yield wire.ListAndWatchResponse(devices=[wire.Device(ID=slot, health="Healthy") for slot in sent])
                async with self._changed:
                    await self._changed.wait_for(lambda: self._slots != sent or self._ours != mine)  # noqa: B023
        finally:
            self._streams -= 1
            self._heard = time.monotonic()
            if self._streams == 0:
                self._unheard.set()

    async def _allocate(self, request: wire.AllocateRequest, _context: Any) -> wire.AllocateResponse:
        answer = wire.AllocateResponse()
        for container in request.container_requests:
            await self._allocated(container.devices_ids)
            devices = answer.container_responses.add().cdi_devices
            for name in cdi.device_names(container.devices_ids):
                devices.add(name=name)
        return answer

    async def _start(self, request: wire.PreStartContainerRequest, context: Any) -> wire.PreStartContainerResponse:
        try:
            await self._prestart(request.devices_ids)
        except errors.UnigpuError as error:
            known = isinstance(error, errors.Denied | errors.Malformed)
            code = grpc.StatusCode.FAILED_PRECONDITION if known else grpc.StatusCode.UNAVAILABLE
            await context.abort(code, f"unigpu: {error}")
        return wire.PreStartContainerResponse()


def _identity(path: Path) -> Identity:
    """Tells a socket from another at the same path: its inode, and when it was made."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns
