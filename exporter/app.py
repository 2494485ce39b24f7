"""The wiring: what runs, and what ends it."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from exporter.collector import Page
from exporter.driver import Driver
from exporter.folders import Folders
from exporter.server import Server
from exporter.settings import Settings
from unigpu import logs

logger = logging.getLogger(__name__)
OTHER_FILES = 256
"""Descriptors for connections, the driver and the like."""


async def run(settings: Settings, started: Callable[[int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `started` gets the port once it is open.

    Raises OSError where the port can't be had.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    folders = Folders(settings.containers, _open_files())
    driver = Driver(settings)
    server = Server(Page(folders, driver))
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=5.0)
    try:
        await runner.setup()
        listener = _listen(settings.port)
        await web.SockSite(runner, listener).start()
        port = int(listener.getsockname()[1])
        logs.event(logger, "serving", port=port, containers=settings.containers)
        if started is not None:
            started(port)
        await stop.wait()
        server.draining = True
    finally:
        await runner.cleanup()
        server.close()
        driver.close()
        folders.close()
    logs.event(logger, "ended")


def _listen(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6, where there is IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _open_files() -> int:
    """How many containers' files may stay open: as many as the system lets us, with some left for connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, hard - OTHER_FILES)
