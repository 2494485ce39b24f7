"""The listeners of a service: any application on IPv4 and IPv6, and the one for probes and Prometheus."""

import contextlib
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from unigpu import errors

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus' text format."""
_BACKLOG = 512

Unready = Callable[[], str | Awaitable[str | None] | None]
Page = Callable[[], bytes | Awaitable[bytes]]


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

    async def scrape(_: web.Request) -> web.Response:
        assert metrics is not None
        try:
            found = metrics()
            body = await found if inspect.isawaitable(found) else found
        except errors.Unavailable as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    if metrics is not None:
        application.router.add_get("/metrics", scrape)
    return application


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
