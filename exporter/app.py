"""The wiring: files, the page, and the listener, from the start of the process to a signal."""

import contextlib
import logging

from exporter import agent_files, heads
from exporter.collector import MetricsPage
from exporter.dcgm import DcgmNames
from exporter.folders import Folders
from exporter.server import Scrapes
from exporter.settings import Settings
from unigpu import logs
from unigpu_node.folder_watch import FolderWatch
from unigpu_service import descriptors, http, runtime

logger = logging.getLogger(__name__)
OTHER_FILES = 256
"""Descriptors for connections and the like."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises Malformed, in a group, where the port can't be had."""
    with contextlib.ExitStack() as stack:
        watch = FolderWatch()
        stack.callback(watch.close)
        folders = Folders(settings.containers, settings.node, _open_files() // heads.DESCRIPTORS, watch)
        stack.callback(folders.close)
        wanted = settings.dcgm_names
        dcgm = None if wanted == "none" else DcgmNames(settings.node, gpus=wanted == "all")
        state = settings.state_dir
        page = MetricsPage(folders, agent_files.driver(state), agent_files.report(state), settings.node, dcgm=dcgm)
        stack.callback(page.close)
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
    return max(0, descriptors.allow_most() - OTHER_FILES)
