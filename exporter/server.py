"""HTTP: /metrics, /healthz, /readyz."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from exporter.collector import Page
from unigpu import logs

logger = logging.getLogger(__name__)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Server:
    """Answers scrapes. Pages are made on one thread, one after another, so that probes are answered meanwhile."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._problem = ""
        self.draining = False

    def application(self) -> web.Application:
        """The three paths."""
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/readyz", self._ready)
        return application

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown()

    async def _collect(self) -> list[bytes]:
        try:
            pieces = await asyncio.get_running_loop().run_in_executor(self._thread, self._page.collect)
        except OSError as error:
            if str(error) != self._problem:
                logs.event(logger, "containers' folders can't be listed", logging.ERROR, error=error)
            self._problem = str(error)
            raise web.HTTPServiceUnavailable(text=f"containers' folders can't be listed: {error}\n") from error
        self._problem = ""
        return pieces

    async def _metrics(self, request: web.Request) -> web.Response:
        body = b"".join(await self._collect())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        if self.draining:
            raise web.HTTPServiceUnavailable(text="draining\n")
        if self._problem:
            # It is only known after a scrape whether the folders can be listed; this is how it is known to be over.
            await self._collect()
        return web.Response(text="ok\n")
