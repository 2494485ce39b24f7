"""A wire to the API server: slow, deaf, cut, and whole again. It carries bytes, and TLS in them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from bench.fleet.control_plane import ControlPlane

_MOST = 1 << 16
"""Bytes of a piece."""


class Wire:
    """Carries connections to a port of this machine. A new one is as fast as the machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.delay = 0.0
        """Seconds that each piece is under way."""
        self.answers = asyncio.Event()
        """Cleared: what is sent to the API server arrives, and nothing comes back."""
        self.answers.set()
        self._whole = True
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """End each connection, and let none begin."""
        self._whole = False
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections begin."""
        self._whole = True

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        with contextlib.ExitStack() as ends:
            ends.callback(writer.transport.abort)
            if not self._whole:
                return
            self._open.add(writer)
            ends.callback(self._open.discard, writer)
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:  # nobody listens
                return
            ends.callback(far_writer.transport.abort)
            if writer.transport.is_closing():  # it was cut while this side connected
                return
            self._open.add(far_writer)
            ends.callback(self._open.discard, far_writer)
            pumps = {
                asyncio.ensure_future(self._pump(reader, far_writer, back=False)),
                asyncio.ensure_future(self._pump(far_reader, writer, back=True)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(_MOST):
                await asyncio.sleep(self.delay)
                if back:
                    await self.answers.wait()
                writer.write(piece)
                await writer.drain()


@contextlib.asynccontextmanager
async def between(plane: ControlPlane, identity: str) -> AsyncIterator[Wire]:
    """Let programs that start while the block lasts, and have this identity, reach the API server by a wire."""
    wire = Wire(urlsplit(plane.server).port or 0)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    config = plane.kubeconfig(identity)
    document = json.loads(config.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
    config.write_text(json.dumps(document))
    try:
        yield wire
    finally:
        server.close()
        wire.cut()
        await server.wait_closed()
