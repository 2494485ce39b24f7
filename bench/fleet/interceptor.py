"""A relay between two parts that lets a test act in the middle of a request."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

Hook = Callable[[], Awaitable[None]]
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"})
"""Headers of one connection, or of a body as it was sent on it."""


class Interceptor:
    """Relays each request to `target`, an address that may be set later.

    Of requests that are POSTed to a path with this ending, `before` is called when one has come and isn't sent on, and
    `after` when it is answered and the answer isn't.
    """

    def __init__(self, session: aiohttp.ClientSession, target: str, ending: str) -> None:
        self._session = session
        self.target = target
        self._ending = ending
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Relay one request; a watch piece by piece."""
        of_interest = request.method == "POST" and request.path.endswith(self._ending)
        if of_interest and (hook := self.before) is not None:
            await hook()
        body = await request.read()
        try:
            return await self._relay(request, body, of_interest)
        except aiohttp.ClientConnectionError:
            # What is asked is gone: who asks sees its connection end, as it would without a relay.
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=502)

    async def _relay(self, request: web.Request, body: bytes, of_interest: bool) -> web.StreamResponse:
        async with self._session.request(
            request.method, self.target + request.raw_path, data=body, headers=_passed(request.headers)
        ) as answer:
            if of_interest and (hook := self.after) is not None:
                await answer.read()
                await hook()
            relayed = web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
            with contextlib.suppress(ConnectionError):  # who asked is gone
                await relayed.prepare(request)
                async for chunk in answer.content.iter_any():
                    await relayed.write(chunk)
                await relayed.write_eof()
            return relayed


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


@contextlib.asynccontextmanager
async def between(target: str, ending: str, authority: Path | None = None) -> AsyncIterator[Interceptor]:
    """Run a relay to an address while the block lasts; its own address is its `url`.

    It brings no credentials of its own. `authority`: file with the certificate authority of an HTTPS address.
    """
    # A connection for each request under way: watches keep theirs.
    tls = ssl.create_default_context(cafile=authority) if authority else True
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=tls))
    relay = Interceptor(session, target, ending)
    application = web.Application(client_max_size=64 << 20)
    application.router.add_route("*", "/{path:.*}", relay.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield relay
    finally:
        await runner.cleanup()
        await session.close()
