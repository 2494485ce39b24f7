"""The cluster's state that reviews depend on: the namespaces' rules and the sizes of GPUs."""

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping

from unigpu import gpus, names
from unigpu.units import MiB
from unigpu_kube import objects
from unigpu_kube.client import Client, Json
from unigpu_kube.objects import Ref
from unigpu_kube.reflector import Listing, Reflector, Sink, Source
from webhook.translation import contexts, namespaces
from webhook.translation.options import Options

NamespaceRules = tuple[str, Mapping[str, str], Mapping[str, str]]
"""A namespace, and those of its annotations and labels that are rules for its pods."""
NodeGpus = tuple[str, MiB, MiB]
"""A node, the memory of its largest GPU, and the smallest CUDA context among its GPUs; 0 where it has none."""


class ClusterCache:
    """The namespaces' rules and the sizes of the nodes' GPUs, kept current by watches."""

    def __init__(self, options: Options) -> None:
        self._plain = options
        self._context_memory = options.context_memory
        self._options: dict[str, Options] = {}
        self._gpus: dict[str, tuple[MiB, MiB]] = {}
        self._stale = False
        self.synced = asyncio.Event()
        """Set once the namespaces are known."""

    def options(self, namespace: str) -> Options:
        """Return how pods of the namespace are read."""
        if self._stale:
            self._refresh()
        return self._options.get(namespace, self._plain)

    def unready(self) -> str | None:
        """Return why the cache isn't complete; None if it is."""
        return None if self.synced.is_set() else "namespaces aren't synced yet"

    async def run(self, client: Client) -> None:
        """Keep the cache current; never returns."""
        of_namespaces = Sink(namespace_rules, self._list_namespaces, self.set_namespace, self.remove_namespace)
        of_nodes = Sink(node_gpus, self._list_nodes, self.set_node, self.remove_node)
        async with asyncio.TaskGroup() as group:
            source = Source(objects.NAMESPACES, metadata_only=True)
            group.create_task(Reflector(client, source, of_namespaces).run())
            group.create_task(Reflector(client, Source(objects.NODES, metadata_only=True), of_nodes).run())

    def replace_namespaces(self, found: Iterable[NamespaceRules]) -> None:
        """Replace all namespaces."""
        self._options = {}
        for item in found:
            self.set_namespace(item)
        self.synced.set()

    def set_namespace(self, found: NamespaceRules) -> None:
        """Apply a change of one namespace. Only those with rules are kept."""
        name, annotations, labels = found
        self._options.pop(name, None)
        if annotations or labels:
            self._options[name] = namespaces.apply(self._plain, annotations, labels)

    def remove_namespace(self, namespace: Ref) -> None:
        """Forget a namespace."""
        self._options.pop(namespace.name, None)

    def replace_nodes(self, found: Iterable[NodeGpus]) -> None:
        """Replace all nodes."""
        self._gpus = {name: (memory, context) for name, memory, context in found}
        self._stale = True

    def set_node(self, found: NodeGpus) -> None:
        """Apply a change of one node."""
        name, memory, context = found
        sizes = memory, context
        if self._gpus.get(name) != sizes:
            self._gpus[name] = sizes
            self._stale = True

    def remove_node(self, node: Ref) -> None:
        """Forget a node."""
        self._stale |= self._gpus.pop(node.name, None) is not None

    def _list_namespaces(self, listing: Listing[NamespaceRules]) -> None:
        self.replace_namespaces(listing.items)

    def _list_nodes(self, listing: Listing[NodeGpus]) -> None:
        self.replace_nodes(listing.items)

    def _refresh(self) -> None:
        """Put the sizes of the GPUs into the options, after nodes changed."""
        largest = max((memory for memory, _ in self._gpus.values()), default=MiB(0))
        smallest = min((context for _, context in self._gpus.values() if context), default=MiB(0))
        context = self._context_memory or smallest

        def sized(options: Options) -> Options:
            return dataclasses.replace(options, largest_gpu=largest, context_memory=context)

        self._plain = sized(self._plain)
        self._options = {name: sized(options) for name, options in self._options.items()}
        self._stale = False


def namespace_rules(item: Json) -> NamespaceRules:
    """Return the namespace's name, its unigpu annotations, and the vendors' labels that are read on namespaces."""
    annotations, labels = (item["metadata"].get(kind) or {} for kind in ("annotations", "labels"))
    return (
        objects.ref(item).name,
        {key: text for key, text in annotations.items() if key.startswith(f"{names.DOMAIN}/")},
        {label: labels[label] for label, _ in namespaces.LABELS if label in labels},
    )


def node_gpus(item: Json) -> NodeGpus:
    """Return the node's name and the sizes of its GPUs. Raises Malformed."""
    text = (item["metadata"].get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
    present = gpus.load(text) if text is not None else ()
    largest = max((gpu.memory for gpu in present), default=MiB(0))
    return objects.ref(item).name, largest, min((contexts.of_model(gpu.model) for gpu in present), default=MiB(0))
