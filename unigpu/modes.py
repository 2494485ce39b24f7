"""Read a node's labels: which requests the node takes, and what is enforced on it.

Alibaba's labels: https://www.alibabacloud.com/help/doc-detail/191140.html
"""

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass

from unigpu import names
from unigpu.requests import ComputePolicy, PlacementPolicy, Request
from unigpu.units import Percent


class NodeMode(enum.StrEnum):
    """Value of `unigpu.dev/mode`, or of Alibaba's `ack.node.gpu.schedule`."""

    MIXED = "mixed"
    """No label: shares and whole GPUs; memory and compute are enforced."""
    SHARE = "share"
    """Shares that are counted and not enforced; containers see the whole GPU."""
    CGPU = "cgpu"
    """Shares whose memory is enforced."""
    CORE_MEM = "core_mem"
    """Shares whose memory and compute are enforced."""
    TOPOLOGY = "topology"
    """Whole GPUs, chosen by their links."""
    DEFAULT = "default"
    """Whole GPUs."""


WHOLE_GPUS_ONLY = frozenset({NodeMode.TOPOLOGY, NodeMode.DEFAULT})
FULL = 100
"""All of a GPU, in percent."""
_QGPU_POLICIES = {
    "fixed-share": ComputePolicy.HARD,
    "burst-share": ComputePolicy.SOFT,
    "best-effort": ComputePolicy.UNLIMITED,
}
SHARES_ONLY = frozenset({NodeMode.SHARE, NodeMode.CGPU, NodeMode.CORE_MEM})


@dataclass(frozen=True, slots=True)
class Enforcement:
    """Which of a container's limits libvgpu enforces."""

    memory: bool
    cores: bool


def from_labels(labels: Mapping[str, str]) -> NodeMode:
    """Return the node's mode. unigpu's label wins over Alibaba's; a label with an unknown value is ignored."""
    for label in (names.LABEL_MODE, names.LABEL_ACK_SCHEDULE):
        value = labels.get(label)
        if value is not None:
            try:
                return NodeMode(value)
            except ValueError:
                continue
    return NodeMode.MIXED


def gpu_policy(labels: Mapping[str, str]) -> PlacementPolicy | None:
    """Return how to choose among the node's GPUs (`ack.node.gpu.placement`); None if the label is absent or unknown."""
    value = labels.get(names.LABEL_ACK_PLACEMENT)
    try:
        return None if value is None else PlacementPolicy(value)
    except ValueError:
        return None


def on_node(request: Request, labels: Mapping[str, str]) -> Request:
    """Return the request with the compute policy that the node's label sets.

    The label applies to qGPU's pods only. In all other dialects the pod itself sets the policy.
    """
    policy = _QGPU_POLICIES.get(labels.get(names.LABEL_QGPU_POLICY, ""))
    if policy is None or request.dialect != names.DIALECT_QGPU or request.whole or not request.cores:
        return request
    ceiling = Percent(FULL if policy is ComputePolicy.SOFT else 0)
    return dataclasses.replace(request, policy=policy, ceiling=ceiling)


def refusal(mode: NodeMode, request: Request) -> str | None:
    """Return why a node of this mode doesn't take the request, or None if it does."""
    if mode in WHOLE_GPUS_ONLY and not request.whole:
        return f"node offers whole GPUs only (mode {mode}), but a share is requested"
    if mode in SHARES_ONLY and request.whole:
        return f"node offers shares only (mode {mode}), but whole GPUs are requested"
    return None


def enforcement(mode: NodeMode, labels: Mapping[str, str], request: Request) -> Enforcement:
    """Return which of the request's limits are enforced on a node with this mode and these labels.

    A whole GPU has no limits to enforce, because no other pod uses it.
    """
    open_node = mode is NodeMode.SHARE or labels.get(names.LABEL_CGPU_DISABLE_ISOLATION) == "true"
    if open_node or not request.isolated or request.whole:
        return Enforcement(memory=False, cores=False)
    return Enforcement(memory=True, cores=mode is not NodeMode.CGPU)
