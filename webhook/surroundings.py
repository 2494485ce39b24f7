"""What the webhook knows of the cluster beside the pod in question: namespaces' rules, and the largest card."""

import asyncio
import dataclasses
import logging
from collections.abc import Mapping

from kubernetes_asyncio import client

from unigpu import errors, gpus, logs, names
from unigpu.units import MiB
from webhook import namespaces, watching
from webhook.options import Options
from webhook.watching import Item

log = logging.getLogger(__name__)


class Surroundings:
    """A picture of namespaces and nodes, kept current by watches."""

    def __init__(self, options: Options) -> None:
        self._plain = options
        self._options: dict[str, Options] = {}
        self._cards: dict[str, MiB] = {}
        self._stale = False
        self.first = asyncio.Event()
        """Set once the namespaces are known."""

    def options(self, namespace: str) -> Options:
        """How pods of the namespace are read."""
        if self._stale:
            self._look_again()
        return self._options.get(namespace, self._plain)

    def unready(self) -> str | None:
        """Why the picture isn't complete; None if it is."""
        return None if self.first.is_set() else "the namespaces aren't known yet"

    async def run(self, api: client.ApiClient) -> None:
        """Keep the picture current; never returns."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                watching.follow(
                    api, "/api/v1/namespaces", {}, listed=self.namespaces_listed, changed=self.namespace_changed
                )
            )
            group.create_task(
                watching.follow(api, "/api/v1/nodes", {}, listed=self.nodes_listed, changed=self.node_changed)
            )

    def namespaces_listed(self, items: list[Item]) -> None:
        """All namespaces."""
        self._options = {}
        for item in items:
            self.namespace_changed("ADDED", item)
        self.first.set()

    def namespace_changed(self, kind: str, item: Item) -> None:
        """One namespace. Only those with annotations of ours are kept."""
        name, annotations = _about(item)
        self._options.pop(name, None)
        if kind != "DELETED" and any(annotation.startswith(f"{names.DOMAIN}/") for annotation in annotations):
            self._options[name] = namespaces.apply(self._plain, annotations)

    def nodes_listed(self, items: list[Item]) -> None:
        """All nodes."""
        self._cards = {}
        for item in items:
            self.node_changed("ADDED", item)

    def node_changed(self, kind: str, item: Item) -> None:
        """One node."""
        name, annotations = _about(item)
        self._cards.pop(name, None)
        text = annotations.get(names.ANNOTATION_INVENTORY)
        if kind != "DELETED" and text is not None:
            try:
                self._cards[name] = max((gpu.memory for gpu in gpus.load(text)), default=MiB(0))
            except errors.Malformed as error:
                logs.event(log, "inventory not understood", logging.WARNING, node=name, error=error)
        self._stale = True

    def _look_again(self) -> None:
        """Give the options the largest card, after nodes changed."""
        largest = max(self._cards.values(), default=MiB(0))
        self._plain = dataclasses.replace(self._plain, largest_card=largest)
        self._options = {
            name: dataclasses.replace(options, largest_card=largest) for name, options in self._options.items()
        }
        self._stale = False


def _about(item: Item) -> tuple[str, Mapping[str, str]]:
    metadata = item.get("metadata") or {}
    return metadata.get("name", ""), metadata.get("annotations") or {}
