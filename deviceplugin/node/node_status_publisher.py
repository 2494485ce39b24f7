"""Keeps the node object equal to the GPUs: inventory annotation, and capacity of memory and cores."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from deviceplugin.node import node_status
from deviceplugin.node.health import Inventory
from deviceplugin.node.node_status import VendorCapacity
from deviceplugin.node_api import NodeApi
from unigpu import errors, gpus, logs
from unigpu.gpus import Gpu
from unigpu.lowering import Freed
from unigpu.walls import Walls
from unigpu_kube.client import Json
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Listing, Reflector, Sink

logger = logging.getLogger(__name__)

_PAUSE = 0.2
"""Seconds between two patches: another writer of the same fields isn't fought faster."""
_EARLIER = 3.0
"""Seconds to wait at start for the inventory that was published before."""


async def node_at_start(api: NodeApi) -> Json:
    """Return the node object, for what must be known before the first GPU is offered; empty without an answer."""
    try:
        async with asyncio.timeout(_EARLIER):
            return await api.node()
    except (errors.UnigpuError, TimeoutError) as error:
        logs.event(logger, "earlier inventory unknown", logging.WARNING, reason=error or "no answer")
        return {}


def published_inventory(node: Json) -> Inventory:
    """Return the GPUs as an earlier agent published them: a GPU that is lost now is known by name only from there."""
    text = node_status.published(node)
    try:
        return Inventory(gpus.load(text)) if text is not None else Inventory()
    except errors.Malformed as error:
        logs.event(logger, "earlier inventory unknown", logging.WARNING, reason=error)
        return Inventory()


class NodeStatusPublisher:
    """Compares the node object with the GPUs whenever either changes, and every `interval` seconds."""

    def __init__(
        self,
        api: NodeApi,
        interval: float,
        node_seen: Callable[[Json], None],
        vendors: Callable[[Sequence[Gpu], Freed], VendorCapacity] = lambda gpus, freed: VendorCapacity(),
    ) -> None:
        """`node_seen` is called whenever the node object changes. `vendors` says what is published of vendors'
        resources, given what lowered limits have freed, and may read files."""
        self.published = False
        """Whether the node object was equal to the GPUs when they were last compared."""
        self._api = api
        self._interval = interval
        self._node_seen = node_seen
        self._vendors = vendors
        self._node: Json | None = None
        self._gpus: Inventory | None = None
        self._walls = Walls()
        self._lowerable: str | None = None
        self._freed: Freed | None = None
        """None: not known before the node's pods are."""
        self._wake = asyncio.Event()

    def observe(self, gpus: Inventory, walls: Walls) -> None:
        """Take in the GPUs, and the node's walls, as they are now."""
        self._gpus, self._walls = gpus, walls
        self._wake.set()

    def observe_lowering(self, lowerable: str | None, freed: Freed) -> None:
        """Take in what containers could do without, and what lowered limits have freed."""
        if (lowerable, freed) != (self._lowerable, self._freed):
            self._lowerable, self._freed = lowerable, freed
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
            self._node_seen(node)
            self._wake.set()

    async def _compare(self) -> None:
        node, known = self._node, self._gpus
        if node is None or known is None:
            return
        vendors = await asyncio.to_thread(self._vendors, known.gpus, self._freed or Freed())
        metadata = node_status.annotation(known.gpus, self._walls, node, vendors.published(), self._offer(node))
        if metadata is not None:
            await self._api.patch_node(metadata)
        status = node_status.capacity(known.gpus, node, vendors, self._freed)
        if status is not None:
            await self._api.patch_node_status(status)
        if metadata is not None or status is not None:
            resources = node_status.resources(known.gpus, self._freed or Freed())
            logs.event(logger, "node status published", gpus=len(known.gpus), resources=resources)
            self._node = await self._api.node()
        self.published = True

    def _offer(self, node: Json) -> str | None:
        """Return the text of what containers could do without; before it is known, what the node object says."""
        return node_status.offered(node) if self._freed is None else self._lowerable
