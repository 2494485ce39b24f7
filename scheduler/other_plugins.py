"""Keep pods from nodes on which another device plugin would serve what is already translated.

A translated pod keeps its vendor's resources. Where a device plugin offers one of them, the kubelet would give the
container a second GPU; where the node's status has it with an amount of 0, the kubelet would refuse the pod.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from unigpu import names
from unigpu.api_objects import NodeFacts

Offers = Mapping[str, frozenset[str]]
"""Nodes that offer vendors' resources by another device plugin, each with these resources."""


class OtherPlugins:
    """What other device plugins offer, on nodes that have GPUs of unigpu's or not. Nearly always nothing."""

    def __init__(self, vendors: Iterable[str]) -> None:
        self._vendors = frozenset(vendors)
        self._offers: dict[str, frozenset[str]] = {}

    def node_changed(self, facts: NodeFacts) -> None:
        """Take over a node that is new or has changed."""
        offered = facts.offered & self._vendors
        if offered:
            self._offers[facts.name] = offered
        else:
            self._offers.pop(facts.name, None)

    def node_gone(self, name: str) -> None:
        """Forget a node."""
        self._offers.pop(name, None)

    def nodes_listed(self, nodes: Collection[NodeFacts]) -> None:
        """Take over all nodes that there are."""
        self._offers.clear()
        for facts in nodes:
            self.node_changed(facts)

    def refusals(self, pod: Mapping[str, Any], nodes: Sequence[str]) -> dict[str, str]:
        """Return the nodes among these that can't take the pod for this reason, with the reason."""
        if not self._offers:
            return {}
        wanted = self._vendors & _limits(pod)
        if not wanted:
            return {}
        return {node: reason(sorted(both)) for node in nodes if (both := self._offers.get(node, frozenset()) & wanted)}


def reason(resources: Sequence[str]) -> str:
    """Return why a node isn't taken, for people."""
    return (
        f"node offers {', '.join(resources)} by another device plugin, which would give the pod a second GPU "
        f"(remove that plugin from the node)"
    )


def _limits(pod: Mapping[str, Any]) -> set[str]:
    """The resources of those containers of the pod that unigpu serves."""
    spec = pod["spec"]
    every = (container for place in ("initContainers", "containers") for container in spec.get(place) or ())
    limits = ((container.get("resources") or {}).get("limits") or {} for container in every)
    return {name for each in limits if names.RESOURCE_VGPU in each for name in each}
