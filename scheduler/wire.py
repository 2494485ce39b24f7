"""Requests of a kube-scheduler and the answers that it expects: JSON keys as in k8s.io/kube-scheduler/extender/v1.

Only what is used here; the types there carry no JSON tags, so keys are the Go names.
"""

from typing import Any, NotRequired, TypedDict

MOST_SCORE = 10
"""Highest score of a node."""

Pod = dict[str, Any]
"""A Kubernetes pod as JSON."""


class Args(TypedDict):
    """Body of filter and prioritize."""

    Pod: Pod
    NodeNames: list[str] | None
    """None where the extender isn't configured as nodeCacheCapable."""


class FilterResult(TypedDict):
    """Answer of filter."""

    NodeNames: NotRequired[list[str]]
    FailedNodes: NotRequired[dict[str, str]]
    """Nodes that don't take the pod now, with the reason. A nomination to one of them stays."""
    FailedAndUnresolvableNodes: NotRequired[dict[str, str]]
    """Nodes that don't take the pod, with the reason; the kube-scheduler looks for no victims there, and takes back
    a nomination to one of them."""
    Error: NotRequired[str]


class HostPriority(TypedDict):
    """Score of one node, 0 to MOST_SCORE."""

    Host: str
    Score: int


class MetaPod(TypedDict):
    """A pod that would be preempted."""

    UID: str


class MetaVictims(TypedDict):
    """The pods that would be preempted on one node."""

    Pods: list[MetaPod]
    NumPDBViolations: int


class PreemptionArgs(TypedDict):
    """Body of preempt."""

    Pod: Pod
    NodeNameToMetaVictims: dict[str, MetaVictims] | None


class PreemptionResult(TypedDict):
    """Answer of preempt: the nodes that remain, each with its victims."""

    NodeNameToMetaVictims: dict[str, MetaVictims]


class BindingArgs(TypedDict):
    """Body of bind."""

    PodName: str
    PodNamespace: str
    PodUID: str
    Node: str


class BindingResult(TypedDict):
    """Answer of bind; an empty Error is success."""

    Error: str
