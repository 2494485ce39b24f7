"""What the agent knows of its node now: one owner, read by everybody else."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unigpu.gpus import Gpu
from unigpu.units import GpuUuid


@dataclass(frozen=True, slots=True)
class Node:
    """A node, its labels and its GPUs."""

    name: str
    boot: str
    """Linux' boot ID: another one means that no process of an earlier boot lives."""
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[GpuUuid, Gpu] = field(default_factory=dict)


class NodeState:
    """Holds the current `Node`, and replaces it when labels or GPUs change."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def now(self) -> Node:
        """The node as it was last observed."""
        return self._node

    def set_gpus(self, gpus: Sequence[Gpu]) -> None:
        """Replace the GPUs."""
        self._node = dataclasses.replace(self._node, gpus={gpu.uuid: gpu for gpu in gpus})

    def set_labels(self, labels: Mapping[str, str]) -> bool:
        """Replace the labels; return whether they differ from those before."""
        if labels == self._node.labels:
            return False
        self._node = dataclasses.replace(self._node, labels=labels)
        return True
