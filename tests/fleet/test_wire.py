"""The wire that other tests cut."""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.fleet.wire import Wire


async def test_a_connection_that_is_just_beginning_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = asyncio.open_connection
    begins, cut, heard = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(*where: Any) -> Any:
        begins.set()
        await cut.wait()
        return await connect(*where)

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        heard.set()

    far = await asyncio.start_server(hear, "127.0.0.1", 0)
    wire = Wire(far.sockets[0].getsockname()[1])
    near = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    async with far, near:
        monkeypatch.setattr(asyncio, "open_connection", slow)
        reader, writer = await connect("127.0.0.1", near.sockets[0].getsockname()[1])
        try:
            async with asyncio.timeout(30.0):
                await begins.wait()
                wire.cut()
                cut.set()
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                await heard.wait()
        finally:
            writer.close()
