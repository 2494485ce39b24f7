"""Keeps the node object saying what the GPUs are: inventory annotation, and capacity of the unified resources."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from deviceplugin import apiserver
from deviceplugin.apiserver import ApiServer
from deviceplugin.node import node_status
from deviceplugin.node.inventory import Inventory
from unigpu import errors, logs

logger = logging.getLogger(__name__)

_PAUSE = 0.2


class NodeStatusPublisher:
    """Compares the node object with the GPUs whenever either changes, and now and then."""

    def __init__(
        self, api: ApiServer, interval: float, labelled: Callable[[Mapping[str, str]], Awaitable[None]]
    ) -> None:
        self.published = False
        """Whether the node object said it all when it was last looked at."""
        self._api = api
        self._interval = interval
        self._labelled = labelled
        self._node: dict[str, Any] | None = None
        self._gpus: Inventory | None = None
        self._wake = asyncio.Event()

    def observe(self, gpus: Inventory) -> None:
        """The GPUs are these now."""
        self._gpus = gpus
        self._wake.set()

    async def follow_node(self) -> None:
        """Watch the node object: a node that was made anew is told again. Never ends by itself."""
        async for event in self._api.follow_node():
            if isinstance(event, apiserver.Listed):
                node = event.objects[0] if event.objects else None
            else:
                node = None if event.gone else event.object
            self._node = node
            if node is not None:
                await self._labelled(node_status.labels(node))
                self._wake.set()

    async def publish(self) -> None:
        """Never ends by itself."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._compare()
            except (errors.Unavailable, apiserver.Missing) as error:
                self.published = False
                logs.event(logger, "not published", logging.WARNING, reason=error)
            # Whoever else writes the same fields is not fought faster than this.
            await asyncio.sleep(_PAUSE)

    async def _compare(self) -> None:
        node, known = self._node, self._gpus
        if node is None or known is None:
            return
        metadata = node_status.annotation(known.gpus, node)
        if metadata is not None:
            await self._api.patch_node(metadata)
        status = node_status.capacity(known.gpus, node)
        if status is not None:
            await self._api.patch_node_status(status)
        if metadata is not None or status is not None:
            logs.event(logger, "published", gpus=len(known.gpus), resources=node_status.resources(known.gpus))
            self._node = await self._api.read_node()
        self.published = True
