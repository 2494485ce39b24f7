"""What a node's labels say about sharing: which requests it takes, and what is enforced on it."""

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
    """No label: shares and whole GPUs, memory and cores enforced."""
    SHARE = "share"
    """Shares, counted and not isolated: containers see the whole GPU."""
    CGPU = "cgpu"
    """Shares with memory isolation."""
    CORE_MEM = "core_mem"
    """Shares with memory and compute isolation."""
    TOPOLOGY = "topology"
    """Whole GPUs, chosen by their links."""
    DEFAULT = "default"
    """Whole GPUs."""


WHOLE_GPUS_ONLY = frozenset({NodeMode.TOPOLOGY, NodeMode.DEFAULT})
FULL = 100
"""Percent: all of a GPU."""
_QGPU_POLICIES = {
    "fixed-share": ComputePolicy.HARD,
    "burst-share": ComputePolicy.SOFT,
    "best-effort": ComputePolicy.UNLIMITED,
}
SHARES_ONLY = frozenset({NodeMode.SHARE, NodeMode.CGPU, NodeMode.CORE_MEM})


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What libvgpu holds a container to."""

    memory: bool
    cores: bool


def of_labels(labels: Mapping[str, str]) -> NodeMode:
    """The node's mode. Our own label wins over Alibaba's; an unknown value counts as no label."""
    for label in (names.LABEL_MODE, names.LABEL_ACK_SCHEDULE):
        value = labels.get(label)
        if value is not None:
            try:
                return NodeMode(value)
            except ValueError:
                continue
    return NodeMode.MIXED


def gpu_policy(labels: Mapping[str, str]) -> PlacementPolicy | None:
    """How the node's owner wants its GPUs filled (`ack.node.gpu.placement`); None: nothing said, or nothing known."""
    value = labels.get(names.LABEL_ACK_PLACEMENT)
    try:
        return None if value is None else PlacementPolicy(value)
    except ValueError:
        return None


def on_node(request: Request, labels: Mapping[str, str]) -> Request:
    """The request with what a node's owner says about its compute policy there.

    Only qGPU leaves that to the node, so it holds for pods in its dialect; other dialects' pods say it themselves.
    """
    policy = _QGPU_POLICIES.get(labels.get(names.LABEL_QGPU_POLICY, ""))
    if policy is None or request.dialect != names.DIALECT_QGPU or request.whole or not request.cores:
        return request
    ceiling = Percent(FULL if policy is ComputePolicy.SOFT else 0)
    return dataclasses.replace(request, policy=policy, ceiling=ceiling)


def refusal(mode: NodeMode, request: Request) -> str | None:
    """Why a node of this mode doesn't take the request, or None if it does."""
    if mode in WHOLE_GPUS_ONLY and not request.whole:
        return f"node gives whole GPUs only (mode {mode}), and a share is asked for"
    if mode in SHARES_ONLY and request.whole:
        return f"node gives shares only (mode {mode}), and whole GPUs are asked for"
    return None


def enforcement(mode: NodeMode, labels: Mapping[str, str], request: Request) -> Enforcement:
    """What is enforced for this request on a node of this mode.

    A whole GPU has nothing to enforce: nobody else is on it.
    """
    open_node = mode is NodeMode.SHARE or labels.get(names.LABEL_CGPU_DISABLE_ISOLATION) == "true"
    if open_node or not request.isolated or request.whole:
        return Enforcement(memory=False, cores=False)
    return Enforcement(memory=True, cores=mode is not NodeMode.CGPU)
