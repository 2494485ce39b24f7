"""Figures of the whole fleet for the metrics, kept current node by node, so that a scrape costs little."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from unigpu import fragmentation, modes, names
from unigpu.fit import Node
from unigpu.fragmentation import Both, Fragmentation, ShareSize
from unigpu.ledger import CapacityLedger
from unigpu.units import MiB

PURPOSES = ("share", "gpu")


@dataclass(frozen=True, slots=True)
class _NodeFigures:
    memories: tuple[MiB, ...]
    """Of its GPUs."""
    cordoned: int
    fragmentation: Both
    text: str
    """Its lines of the metrics page."""
    gpu_text: str
    """Those about its GPUs."""


_ABSENT = _NodeFigures((), 0, fragmentation.NOTHING, "", "")


class Fleet:
    """The figures, as of the last `refresh`."""

    def __init__(self, ledger: CapacityLedger, shares_per_gpu: int) -> None:
        self._ledger = ledger
        self._shares_per_gpu = shares_per_gpu
        self._nodes: dict[str, _NodeFigures] = {}
        self._stale = set(ledger.nodes())
        self._memories: Counter[MiB] = Counter()
        self.typical = ShareSize(MiB(0), fragmentation.QUARTER)
        self.fragmentation = fragmentation.NOTHING
        self.cordoned: dict[str, int] = {}
        """Cordoned GPUs by node; only nodes that have some."""
        ledger.watch(self._stale.add)

    @property
    def nodes(self) -> int:
        """Nodes with GPUs."""
        return len(self._nodes)

    @property
    def gpus(self) -> int:
        """GPUs of those nodes."""
        return self._memories.total()

    def refresh(self) -> None:
        """Bring the figures up to date: of the nodes that changed, or of all if the typical share is another."""
        for name in self._stale:
            self._count(name)
        typical = self._ledger.share_sizes.typical(self._memories, self.typical)
        if typical != self.typical:
            self.typical = typical
            self._stale.update(self._nodes)
            for name in self._stale:
                self._count(name)
        self._stale.clear()

    def lines(self) -> Iterator[str]:
        """Yield the lines of the metrics page about single nodes."""
        return (figures.text for figures in self._nodes.values() if figures.text)

    def gpu_lines(self) -> Iterator[str]:
        """Yield the lines of the metrics page about single GPUs."""
        return (figures.gpu_text for figures in self._nodes.values() if figures.gpu_text)

    def _count(self, name: str) -> None:
        before = self._nodes.pop(name, _ABSENT)
        after = self._figures(name)
        if after is not _ABSENT:
            self._nodes[name] = after
        if after.memories != before.memories:
            self._memories.subtract(before.memories)
            self._memories.update(after.memories)
        if after.cordoned:
            self.cordoned[name] = after.cordoned
        else:
            self.cordoned.pop(name, None)
        self.fragmentation = Both(
            *(
                whole.plus(former, -1).plus(latter)
                for whole, former, latter in zip(
                    self.fragmentation, before.fragmentation, after.fragmentation, strict=True
                )
            )
        )

    def _figures(self, name: str) -> _NodeFigures:
        node = self._ledger.node(name)
        if node is None or not node.gpus:
            return _ABSENT
        both = fragmentation.of_node(node, self.typical, self._shares_per_gpu)
        return _NodeFigures(
            tuple(state.gpu.memory for state in node.gpus),
            sum(state.cordoned for state in node.gpus),
            both,
            "".join(_lines(name, both)),
            "" if node.mode in modes.WHOLE_GPUS_ONLY else "".join(_gpu_lines(node, self.typical, self._shares_per_gpu)),
        )


def _lines(name: str, both: Both) -> Iterator[str]:
    """Yield the node's ratios that aren't 0."""
    label = _label(name)
    for by, found in zip(PURPOSES, both, strict=True):
        for resource, ratio in ratios(found):
            if ratio:
                yield (
                    f'{names.METRIC_SCHEDULER_NODE_FRAGMENTATION}{{node="{label}",resource="{resource}",by="{by}"}} '
                    f"{ratio:.4f}\n"
                )


def _gpu_lines(node: Node, typical: ShareSize, shares_per_gpu: int) -> Iterator[str]:
    """Yield the ratios of its GPUs that aren't 0, for a typical share."""
    label = _label(node.name)
    for state in node.gpus:
        gpu = state.gpu
        for resource, ratio in ratios(fragmentation.of_gpu(state, typical, shares_per_gpu)):
            if ratio:
                yield (
                    f'{names.METRIC_SCHEDULER_GPU_FRAGMENTATION}{{node="{label}",gpu="{gpu.index}",'
                    f'uuid="{_label(gpu.uuid)}",resource="{resource}"}} {ratio:.4f}\n'
                )


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def ratios(found: Fragmentation) -> tuple[tuple[str, float], ...]:
    """Return the fragmentation of each resource, 0 to 1."""
    return (("memory", found.memory), ("cores", found.cores))
