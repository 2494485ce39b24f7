"""The cluster's state that reviews depend on: the namespaces' rules and the largest GPU."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Mapping

from kubernetes_asyncio import client

from unigpu import errors, gpus, logs, names
from unigpu.units import MiB
from webhook import watching
from webhook.translation import namespaces
from webhook.translation.options import Options
from webhook.watching import Item

log = logging.getLogger(__name__)
NamespaceAnnotations = tuple[str, Mapping[str, str]]
"""A namespace and its annotations."""
LargestGpu = tuple[str, MiB]
"""A node and the memory of its largest GPU."""


class ClusterCache:
    """The namespaces' rules and the nodes' largest GPUs, kept current by watches."""

    def __init__(self, options: Options) -> None:
        self._plain = options
        self._options: dict[str, Options] = {}
        self._gpus: dict[str, MiB] = {}
        self._stale = False
        self.first = asyncio.Event()
        """Set once the namespaces are known."""

    def options(self, namespace: str) -> Options:
        """Return how pods of the namespace are read."""
        if self._stale:
            self._refresh()
        return self._options.get(namespace, self._plain)

    def unready(self) -> str | None:
        """Return why the cache isn't complete; None if it is."""
        return None if self.first.is_set() else "namespaces aren't synced yet"

    async def run(self, api: client.ApiClient) -> None:
        """Keep the cache current; never returns."""
        watch_namespaces = watching.list_and_watch(
            api,
            "/api/v1/namespaces",
            {},
            keep=of_namespace,
            listed=self.replace_namespaces,
            changed=self.update_namespace,
        )
        watch_nodes = watching.list_and_watch(
            api, "/api/v1/nodes", {}, keep=of_node, listed=self.replace_nodes, changed=self.update_node
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_namespaces)
            group.create_task(watch_nodes)

    def replace_namespaces(self, items: Iterable[NamespaceAnnotations]) -> None:
        """Replace all namespaces."""
        self._options = {}
        for said in items:
            self.update_namespace("ADDED", said)
        self.first.set()

    def update_namespace(self, kind: str, said: NamespaceAnnotations) -> None:
        """Apply a change of one namespace. Only those with rules are kept."""
        name, annotations = said
        self._options.pop(name, None)
        if kind != "DELETED" and annotations:
            self._options[name] = namespaces.apply(self._plain, annotations)

    def replace_nodes(self, items: Iterable[LargestGpu]) -> None:
        """Replace all nodes."""
        self._gpus = dict(items)
        self._stale = True

    def update_node(self, kind: str, has: LargestGpu) -> None:
        """Apply a change of one node."""
        name, gpu = has
        if kind == "DELETED":
            self._gpus.pop(name, None)
        elif self._gpus.get(name) == gpu:
            return
        else:
            self._gpus[name] = gpu
        self._stale = True

    def _refresh(self) -> None:
        """Put the largest GPU into the options, after nodes changed."""
        largest = max(self._gpus.values(), default=MiB(0))
        self._plain = dataclasses.replace(self._plain, largest_gpu=largest)
        self._options = {
            name: dataclasses.replace(options, largest_gpu=largest) for name, options in self._options.items()
        }
        self._stale = False


def of_namespace(item: Item) -> NamespaceAnnotations:
    """Return the namespace's name and its unigpu annotations."""
    name, annotations = _about(item)
    return name, {key: text for key, text in annotations.items() if key.startswith(f"{names.DOMAIN}/")}


def of_node(item: Item) -> LargestGpu:
    """Return the node's name and the memory of its largest GPU, 0 where it has none."""
    name, annotations = _about(item)
    text = annotations.get(names.ANNOTATION_INVENTORY)
    if text is None:
        return name, MiB(0)
    try:
        return name, max((gpu.memory for gpu in gpus.load(text)), default=MiB(0))
    except errors.Malformed as error:
        logs.event(log, "inventory not understood", logging.WARNING, node=name, error=error)
        return name, MiB(0)


def _about(item: Item) -> tuple[str, Mapping[str, str]]:
    metadata = item.get("metadata") or {}
    return metadata.get("name", ""), metadata.get("annotations") or {}
