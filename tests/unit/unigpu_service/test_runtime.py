"""Tasks that must not end, signals, listeners, and what becomes of a failure."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from unigpu import errors
from unigpu_service import http, main, runtime
from unigpu_service.settings import Logging


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("number", runtime.SIGNALS)
async def test_a_signal_stops_and_cancels(number: signal.Signals) -> None:
    async with runtime.supervise() as supervisor:
        task = supervisor.start("forever", forever())
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await supervisor.stopped()
    assert task.cancelled()


async def test_a_task_that_ends_is_an_error() -> None:
    async def ends() -> None:
        pass

    with pytest.raises(ExceptionGroup) as raised:
        async with runtime.supervise() as supervisor:
            supervisor.start("other", forever())
            supervisor.start("pods", ends())
            await supervisor.stopped()
    assert "'pods'" in str(raised.value.exceptions[0])
    assert isinstance(raised.value.exceptions[0], runtime.Ended)


async def test_a_task_that_fails_ends_the_block() -> None:
    async def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as raised:
        async with runtime.supervise() as supervisor:
            supervisor.spawn("fails", fails())
            await supervisor.stopped()
    assert isinstance(raised.value.exceptions[0], ValueError)


async def test_work_that_may_end() -> None:
    async def ends() -> int:
        return 7

    async with runtime.supervise() as supervisor:
        assert await supervisor.spawn("ends", ends()) == 7


async def test_waiting_for_the_first_of_everything() -> None:
    async with runtime.supervise() as supervisor:
        one, other = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_soon(one.set)
        loop.call_later(0.01, other.set)
        assert await supervisor.first(one, other)
        loop.call_soon(supervisor.stop.set)
        assert not await supervisor.first(asyncio.Event())


async def fetch(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_health_and_metrics() -> None:
    state: list[str | None] = ["not listed yet"]

    async def page() -> bytes:
        if state[0] == "broken":
            raise errors.Unavailable("no page")
        return b"unigpu_x 1\n"

    async with http.listen(http.health(lambda: state[0], page), 0) as port:
        assert await fetch(port, "/healthz") == (200, "ok\n")
        assert await fetch(port, "/readyz") == (503, "not listed yet\n")
        state[0] = None
        assert await fetch(port, "/readyz") == (200, "ok\n")
        assert await fetch(port, "/metrics") == (200, "unigpu_x 1\n")
        state[0] = "broken"
        assert await fetch(port, "/metrics") == (503, "no page\n")
        if socket.has_dualstack_ipv6():
            assert await fetch(port, "/healthz", "[::1]") == (200, "ok\n")
    with pytest.raises(aiohttp.ClientError):
        await fetch(port, "/healthz")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_page_in_pieces(method: str) -> None:
    pieces = [b"%d\n" % number * (number % 700) for number in range(3000)]
    address = "http://127.0.0.1:{}/metrics"
    async with (
        http.listen(http.health(lambda: None, lambda: pieces), 0, host="127.0.0.1") as port,
        aiohttp.ClientSession() as session,
    ):
        for _ in range(2):  # the connection can be used again
            async with session.request(method, address.format(port)) as answer:
                assert answer.status == 200 and answer.headers["Content-Type"] == http.CONTENT_TYPE
                assert await answer.read() == (b"".join(pieces) if method == "GET" else b"")


async def test_somebody_who_leaves_before_the_page_has_ended_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            ended.set()

    application = http.health(lambda: None, lambda: [b"x" * (1 << 20)] * 64)
    application.middlewares.append(note)
    async with http.listen(application, 0, host="127.0.0.1") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        await reader.readexactly(1 << 16)
        writer.transport.abort()
        await ended.wait()
        assert await fetch(port, "/healthz") == (200, "ok\n")
    assert caplog.records == []


def test_blocks_are_the_same_bytes_and_bounded() -> None:
    pieces = [b"x" * (number * 37 % 4000) for number in range(500)]
    found = list(http.blocks(pieces))
    assert b"".join(found) == b"".join(pieces)
    assert 5 < len(found) < 20 and max(map(len, found)) <= 96 << 10
    assert list(http.blocks([b"y" * 500_000])) == [b"y" * 500_000]
    assert list(http.blocks([])) == []


async def test_readiness_may_wait_and_fail() -> None:
    async def unready() -> str | None:
        raise errors.Unavailable("can't be listed")

    async with http.listen(http.health(unready), 0, host="127.0.0.1") as port:
        assert await fetch(port, "/readyz") == (503, "can't be listed\n")
        assert (await fetch(port, "/metrics"))[0] == 404


async def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.Malformed, match=f"can't listen on port {port}"):
            async with http.listen(http.health(lambda: None), port, host="127.0.0.1"):
                pass


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores the signal handlers of this process."""
    before = {number: signal.getsignal(number) for number in runtime.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, main.STOPPED),
        (errors.Malformed("wrong"), main.MISCONFIGURED),
        (ExceptionGroup("", [errors.Malformed("wrong")]), main.MISCONFIGURED),
        (ExceptionGroup("", [errors.Malformed("wrong"), ValueError()]), main.FAILED),
        (errors.Unavailable("away"), main.FAILED),
        (ExceptionGroup("", [ExceptionGroup("", [runtime.Ended("x")])]), main.FAILED),
        (ValueError("ours"), main.FAILED),
    ],
)
def test_exit_status(
    error: Exception | None, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("unigpu.logs.configure", lambda **_: None)

    async def work(_: Logging) -> None:
        if error is not None:
            raise error

    with caplog.at_level(logging.ERROR):
        assert main.run(Logging(), work) == status
    assert bool(caplog.records) is (error is not None)
