"""Keeps the node object equal to the GPUs: inventory annotation, and capacity of memory and cores."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from deviceplugin.node import node_status
from deviceplugin.node.health import Inventory
from deviceplugin.node_api import NodeApi
from unigpu import errors, gpus, logs
from unigpu_kube.client import Json
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Listing, Reflector, Sink

logger = logging.getLogger(__name__)

_PAUSE = 0.2
"""Seconds between two patches: another writer of the same fields isn't fought faster."""
_EARLIER = 3.0
"""Seconds to wait at start for the inventory that was published before."""


async def published_inventory(api: NodeApi) -> Inventory:
    """Return the GPUs as an earlier agent published them: a GPU that is lost now is known by name only from there."""
    try:
        async with asyncio.timeout(_EARLIER):
            text = node_status.published(await api.node())
        return Inventory(gpus.load(text)) if text is not None else Inventory()
    except (errors.UnigpuError, TimeoutError) as error:
        logs.event(logger, "earlier inventory unknown", logging.WARNING, reason=error or "no answer")
        return Inventory()


class NodeStatusPublisher:
    """Compares the node object with the GPUs whenever either changes, and every `interval` seconds."""

    def __init__(self, api: NodeApi, interval: float, labels_seen: Callable[[Mapping[str, str]], None]) -> None:
        """`labels_seen` is called with the node's labels whenever the node object changes."""
        self.published = False
        """Whether the node object was equal to the GPUs when they were last compared."""
        self._api = api
        self._interval = interval
        self._labels_seen = labels_seen
        self._node: Json | None = None
        self._gpus: Inventory | None = None
        self._wake = asyncio.Event()

    def observe(self, gpus: Inventory) -> None:
        """Take in the GPUs as they are now."""
        self._gpus = gpus
        self._wake.set()

    def reflector(self) -> Reflector[Json]:
        """Return what watches the node object; one that was deleted and created again is patched again."""

        def listed(listing: Listing[Json]) -> None:
            self._observe_node(listing.items[0] if listing.items else None)

        def gone(_: Ref) -> None:
            self._observe_node(None)

        return self._api.node_reflector(
            Sink(parse=lambda node: node, listed=listed, changed=self._observe_node, gone=gone)
        )

    async def publish(self) -> None:
        """Compare and patch. Never returns."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._compare()
            except errors.Unavailable as error:
                self.published = False
                logs.event(logger, "node status not published", logging.WARNING, reason=error)
            await asyncio.sleep(_PAUSE)

    def _observe_node(self, node: Json | None) -> None:
        self._node = node
        if node is not None:
            self._labels_seen(node_status.labels(node))
            self._wake.set()

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
            resources = node_status.resources(known.gpus)
            logs.event(logger, "node status published", gpus=len(known.gpus), resources=resources)
            self._node = await self._api.node()
        self.published = True
