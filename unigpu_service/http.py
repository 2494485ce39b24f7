"""The listeners of a service: any application on IPv4 and IPv6, and the one for probes and Prometheus."""

import contextlib
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

from aiohttp import hdrs, web

from unigpu import errors

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus' text format."""
_BACKLOG = 512

Unready = Callable[[], str | Awaitable[str | None] | None]
Text = bytes | Sequence[bytes]
"""Of a page: whole, or in pieces."""
Page = Callable[[], Text | Awaitable[Text]]
_BLOCK = 96 << 10
"""Bytes that are sent together: the C library has room for so many at hand, and asks the kernel for more."""


def health(unready: Unready, metrics: Page | None = None) -> web.Application:
    """Return an application with /healthz, /readyz and, where there is a page, /metrics.

    `unready` says why the service can't serve now; None or an empty text: it can. `metrics` returns the page in
    Prometheus' text format. Both may be asynchronous. Unavailable that either raises is answered with 503 and its text.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        try:
            found = unready()
            reason = await found if inspect.isawaitable(found) else found
        except errors.Unavailable as error:
            reason = str(error)
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ok\n")

    async def scrape(request: web.Request) -> web.StreamResponse:
        assert metrics is not None
        try:
            found = metrics()
            body = await found if inspect.isawaitable(found) else found
        except errors.Unavailable as error:
            return web.Response(status=503, text=f"{error}\n")
        if isinstance(body, bytes) or request.method != hdrs.METH_GET:
            return web.Response(body=body if isinstance(body, bytes) else None, headers={"Content-Type": CONTENT_TYPE})
        answer = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        answer.content_length = sum(map(len, body))
        with contextlib.suppress(ConnectionError):  # who asked may not wait for the end
            await answer.prepare(request)
            for block in blocks(body):
                await answer.write(block)
            await answer.write_eof()
        return answer

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    if metrics is not None:
        application.router.add_get("/metrics", scrape)
    return application


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in blocks of up to 96 KiB, small pieces put together. A piece isn't divided."""
    together: list[bytes] = []
    size = 0
    for piece in pieces:
        if together and size + len(piece) > _BLOCK:
            yield b"".join(together)
            together, size = [], 0
        together.append(piece)
        size += len(piece)
    if together:
        yield b"".join(together)


@contextlib.asynccontextmanager
async def listen(
    application: web.Application,
    port: int,
    *,
    host: str = "",
    tls: ssl.SSLContext | None = None,
    grace: float = 5.0,
    decompress: bool = True,
) -> AsyncIterator[int]:
    """Serve the application while the block lasts, and give it the port.

    `host`: one address; empty: every one, IPv4 and IPv6. `port` 0: any free one. `grace`: seconds for requests under
    way at the end. Raises Malformed where the port can't be had.
    """
    runner = web.AppRunner(application, access_log=None, auto_decompress=decompress, shutdown_timeout=grace)
    await runner.setup()
    try:
        opened = _socket(host, port)
        await web.SockSite(runner, opened, ssl_context=tls).start()
        yield int(opened.getsockname()[1])
    finally:
        await runner.cleanup()


def _socket(host: str, port: int) -> socket.socket:
    try:
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=_BACKLOG)
    except OSError as error:
        raise errors.Malformed(f"can't listen on port {port}: {error.strerror}; choose another port") from error
