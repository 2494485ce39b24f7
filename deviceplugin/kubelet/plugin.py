"""Serves the kubelet's device plugin API on a socket, and registers it with the kubelet.

A kubelet that restarts forgets its plugins and removes their sockets; it also drops a plugin whose stream of devices
ends. The sockets and the stream are polled, and each of these cases has the same remedy: serve and register again.

API: https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto
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
from unigpu_service import ticks

logger = logging.getLogger(__name__)

API = "v1beta1"
_KUBELET = "kubelet.sock"
_TIMEOUT = 5.0
_NO_STREAM = 5.0
"""Seconds without a stream of devices after which a registration counts as lost."""
_GRACE = 1.0
_QUICK = 0.02
"""Seconds between two polls of the sockets while no kubelet listens. A restarted kubelet admits pods soon after its
socket exists, and refuses them for lack of devices until the plugin has registered."""

Identity = tuple[int, int] | None


def slots(gpus: int, shares_per_gpu: int) -> tuple[str, ...]:
    """Return the IDs of a node's slots: opaque, and tied to no GPU."""
    return tuple(f"slot-{number:04d}" for number in range(gpus * shares_per_gpu))


class Plugin:
    """Offers one resource to one kubelet."""

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
        self._no_stream = asyncio.Event()
        self._no_stream.set()
        self._last_stream = 0.0

    async def offer(self, ids: tuple[str, ...]) -> None:
        """Offer these slots, from the first offer on. Fewer than before are ignored: they may be in use."""
        if len(ids) > len(self._slots):
            async with self._changed:
                self._slots = ids
                self._changed.notify_all()

    async def serve(self) -> None:
        """Serve and stay registered. Never returns; stops the server when it is cancelled."""
        problem = ""
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._slots))
            while True:
                reason = self._needs_restart()
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
        """Wait until the next poll is due, the stream ends, or a socket appears or disappears while there is none."""
        before = self._sockets()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ticks.due(self._poll)):
                await self._no_stream.wait()
                # Files have no event to wait for.
                while self._streams == 0 and self._sockets() == before:  # noqa: ASYNC110
                    await asyncio.sleep(_QUICK)

    def _sockets(self) -> tuple[Identity, Identity]:
        return _identity(self._folder / _KUBELET), _identity(self._socket)

    def _needs_restart(self) -> str | None:
        """Return why the plugin must serve and register again, None where it needn't."""
        if not self.registered:
            return "not registered"
        if _identity(self._socket) != self._ours:
            return "the plugin's socket is gone"
        kubelet = _identity(self._folder / _KUBELET)
        if kubelet is not None and kubelet != self._kubelet:
            return "the kubelet's socket was replaced"
        if self._streams == 0 and time.monotonic() - self._last_stream > _NO_STREAM:
            return "the kubelet has no stream of the plugin's devices"
        return None

    async def _restart(self) -> None:
        # Earlier streams must end first: the kubelet would take their end for that of the new one.
        await self._stop()
        kubelet = _identity(self._folder / _KUBELET)
        if kubelet is None:
            raise errors.Unavailable(f"the kubelet has no socket {self._folder / _KUBELET} yet")
        temporary = self._folder / f".{names.PLUGIN_SOCKET}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._handlers(),))
        try:
            server.add_insecure_port(f"unix:{temporary}")
        except RuntimeError as error:
            raise errors.Unavailable(f"can't listen on {temporary}: {error}") from error
        await server.start()
        self._server = server
        temporary.rename(self._socket)
        self._ours = _identity(self._socket)
        await self._register()
        self._kubelet, self._last_stream, self.registered = kubelet, time.monotonic(), True

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
                raise errors.Unavailable(f"the kubelet refuses the registration: {error.details()}") from error

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
        self._no_stream.clear()
        try:
            while self._ours == mine:
                sent = self._slots
                yield wire.ListAndWatchResponse(devices=[wire.Device(ID=slot, health="Healthy") for slot in sent])
                async with self._changed:
                    await self._changed.wait_for(lambda: self._slots != sent or self._ours != mine)  # noqa: B023
        finally:
            self._streams -= 1
            self._last_stream = time.monotonic()
            if self._streams == 0:
                self._no_stream.set()

    async def _allocate(self, request: wire.AllocateRequest, _context: Any) -> wire.AllocateResponse:
        """Answer with CDI names. An error here fails the pod for good, so whatever may pass is left to `_prestart`."""
        answer = wire.AllocateResponse()
        for container in request.container_requests:
            await self._allocated(container.devices_ids)
            # Also where the runtime ignores CDI devices: the container then gets no GPU, rather than all of them.
            response = answer.container_responses.add(envs={names.ENV_NVIDIA_VISIBLE_DEVICES: "void"})
            for name in cdi.device_names(container.devices_ids):
                response.cdi_devices.add(name=name)
        return answer

    async def _start(self, request: wire.PreStartContainerRequest, context: Any) -> wire.PreStartContainerResponse:
        """Prepare the container. The kubelet shows an error in the pod's events and calls again."""
        code, reason = grpc.StatusCode.OK, ""
        try:
            await self._prestart(request.devices_ids)
        except errors.UnigpuError as error:
            known = isinstance(error, errors.Denied | errors.Malformed)
            code = grpc.StatusCode.FAILED_PRECONDITION if known else grpc.StatusCode.UNAVAILABLE
            reason = str(error)
        except Exception as error:
            logger.error("container not prepared", exc_info=error)
            code, reason = grpc.StatusCode.INTERNAL, f"the node agent failed ({error!r}); its log says where"
        if reason:
            await context.abort(code, f"unigpu: {reason}")
        return wire.PreStartContainerResponse()


def _identity(path: Path) -> Identity:
    """Return what tells a socket from another at the same path: its inode, and when it was created."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns
