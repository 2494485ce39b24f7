"""The wiring: files and driver, the page, and the listener, from the start of the process to a signal."""

import contextlib
import logging
import resource

from exporter.agent_report import AgentReport
from exporter.collector import MetricsPage
from exporter.driver import Driver
from exporter.folders import Folders
from exporter.server import Scrapes
from exporter.settings import Settings
from unigpu import logs
from unigpu_service import http, runtime

logger = logging.getLogger(__name__)
OTHER_FILES = 256
"""Descriptors for connections, the driver and the like."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises Malformed, in a group, where the port can't be had."""
    with contextlib.ExitStack() as stack:
        folders = Folders(settings.containers, settings.node, _open_files())
        stack.callback(folders.close)
        driver = Driver(settings)
        stack.callback(driver.close)
        page = MetricsPage(folders, driver, AgentReport(settings.state_dir), settings.node)
        scrapes = Scrapes(page)
        stack.callback(scrapes.close)
        async with (
            runtime.supervise() as supervisor,
            http.listen(
                http.health(lambda: scrapes.unready(draining=supervisor.stop.is_set()), scrapes.page), settings.port
            ) as port,
        ):
            logs.event(logger, "serving", port=port, node=settings.node, containers=settings.containers)
            await supervisor.stopped()
    logs.event(logger, "ended")


def _open_files() -> int:
    """How many containers' files may stay open: as many as the system allows, with some left for connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, hard - OTHER_FILES)
