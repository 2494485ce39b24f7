"""What a kube-scheduler sends to an extender and wants back: JSON keys as in k8s.io/kube-scheduler/extender/v1.

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
    """Nodes that would do if other pods ended, and why they don't do now."""
    FailedAndUnresolvableNodes: NotRequired[dict[str, str]]
    """Nodes that would not do even then."""
    Error: NotRequired[str]


class HostPriority(TypedDict):
    """Score of one node, 0 to MOST_SCORE."""

    Host: str
    Score: int


class BindingArgs(TypedDict):
    """Body of bind."""

    PodName: str
    PodNamespace: str
    PodUID: str
    Node: str


class BindingResult(TypedDict):
    """Answer of bind; an empty Error is success."""

    Error: str
