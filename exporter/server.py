"""Scrapes: pages are made on one thread, one after another, so that probes are answered while a page is made."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from exporter.collector import MetricsPage
from unigpu import errors, logs

logger = logging.getLogger(__name__)


class Scrapes:
    """Makes pages for /metrics, and knows whether the last one could be made."""

    def __init__(self, page: MetricsPage) -> None:
        self._page = page
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._problem = ""

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown()

    async def page(self) -> Sequence[bytes]:
        """Return the page in pieces. Raises Unavailable where the containers' folders can't be listed."""
        try:
            pieces = await asyncio.get_running_loop().run_in_executor(self._thread, self._page.collect)
        except OSError as error:
            if str(error) != self._problem:
                logs.event(logger, "containers' folders can't be listed", logging.ERROR, error=error)
            self._problem = str(error)
            raise errors.Unavailable(f"containers' folders can't be listed: {error}") from error
        self._problem = ""
        return pieces

    async def unready(self, *, draining: bool) -> str | None:
        """Return why scrapes can't be served; None: they can. Raises Unavailable, as `page` does."""
        if draining:
            return "draining"
        if self._problem:
            # Only a page shows whether the folders can be listed, and so whether the problem is over.
            await self.page()
        return None
