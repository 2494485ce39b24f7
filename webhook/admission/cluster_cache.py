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
from webhook.translation import contexts, namespaces, near_misses
from webhook.translation.options import GpuKind, Options

NamespaceRules = tuple[str, Mapping[str, str], Mapping[str, str]]
"""A namespace, and those of its annotations and labels that are rules for its pods."""
NodeGpus = tuple[str, frozenset[GpuKind]]
"""A node, and the kinds of GPUs that it has."""


class ClusterCache:
    """The namespaces' rules and the sizes of the nodes' GPUs, kept current by watches."""

    def __init__(self, options: Options) -> None:
        self._plain = options
        self._context_memory = options.context_memory
        self._options: dict[str, Options] = {}
        self._gpus: dict[str, frozenset[GpuKind]] = {}
        self._stale = False
        self._known: set[str] = set()
        self.synced = asyncio.Event()
        """Set once namespaces and nodes are known."""

    def options(self, namespace: str) -> Options:
        """Return how pods of the namespace are read."""
        if self._stale:
            self._refresh()
        return self._options.get(namespace, self._plain)

    def unready(self) -> str | None:
        """Return why the cache isn't complete; None if it is."""
        return None if self.synced.is_set() else "namespaces and nodes aren't synced yet"

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
        self._listed("namespaces")

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
        self._gpus = dict(found)
        self._stale = True
        self._listed("nodes")

    def set_node(self, found: NodeGpus) -> None:
        """Apply a change of one node."""
        name, kinds = found
        if self._gpus.get(name) != kinds:
            self._gpus[name] = kinds
            self._stale = True

    def remove_node(self, node: Ref) -> None:
        """Forget a node."""
        self._stale |= self._gpus.pop(node.name, None) is not None

    def _listed(self, what: str) -> None:
        self._known.add(what)
        if self._known == {"namespaces", "nodes"}:
            self.synced.set()

    def _list_namespaces(self, listing: Listing[NamespaceRules]) -> None:
        self.replace_namespaces(listing.items)

    def _list_nodes(self, listing: Listing[NodeGpus]) -> None:
        self.replace_nodes(listing.items)

    def _refresh(self) -> None:
        """Put the sizes of the GPUs into the options, after nodes changed."""
        kinds = sorted(frozenset().union(*self._gpus.values()), key=lambda kind: (kind.memory, kind.model))
        smallest = min((contexts.of_model(kind.model) for kind in kinds), default=MiB(0))
        context = self._context_memory or smallest

        def sized(options: Options) -> Options:
            return dataclasses.replace(options, gpus=tuple(kinds), context_memory=context)

        self._plain = sized(self._plain)
        self._options = {name: sized(options) for name, options in self._options.items()}
        self._stale = False


def namespace_rules(item: Json) -> NamespaceRules:
    """Return the namespace's name, its unigpu annotations, and the vendors' labels that are read on namespaces."""
    annotations, labels = (item["metadata"].get(kind) or {} for kind in ("annotations", "labels"))
    return (
        objects.ref(item).name,
        {
            key: text
            for key, text in annotations.items()
            if key.startswith(f"{names.DOMAIN}/") or near_misses.nearest(key, near_misses.OF_NAMESPACES)
        },
        {
            label: text
            for label, text in labels.items()
            if label in near_misses.NAMESPACE_LABELS or near_misses.nearest(label, near_misses.NAMESPACE_LABELS)
        },
    )


def node_gpus(item: Json) -> NodeGpus:
    """Return the node's name and the kinds of its GPUs. Raises Malformed."""
    text = (item["metadata"].get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
    present = gpus.load(text) if text is not None else ()
    return objects.ref(item).name, frozenset(GpuKind(gpu.model, gpu.memory) for gpu in present)
