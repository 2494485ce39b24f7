"""Remembers which nodes take a pod of a given shape, and checks again only those that have changed.

Pods come in few shapes, and few nodes change between two pods. So the answer for 5,000 nodes is mostly a look-up.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from unigpu import placement
from unigpu.ledger import CapacityLedger
from unigpu.placement import Reason, Rules
from unigpu.requests import PodRequest

MOST_SHAPES = 64
"""Shapes that are remembered, the latest."""

Shape = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """Nodes that take the pod and nodes that don't, both in the order of the question."""

    fitting: list[str]
    failing: dict[str, Reason]


@dataclass(slots=True)
class _Table:
    pod: PodRequest
    stale: set[str]
    fitting: set[str] = field(default_factory=set)
    failing: dict[str, Reason] = field(default_factory=dict)
    simple: tuple[int, int] | None = None
    """MiB and percent of a pod that asks for one share of any GPU: the free capacity of one GPU decides."""
    by_signature: dict[int, Reason | None] | None = None
    """None where the nodes' names and GPUs matter, because the pod names GPUs."""


class FitCache:
    """Nodes that fit, for the latest shapes."""

    def __init__(self, ledger: CapacityLedger, rules: Rules) -> None:
        self._ledger = ledger
        self._rules = rules
        self._tables: OrderedDict[Shape, _Table] = OrderedDict()
        ledger.watch(self._changed)

    def of(self, pod: PodRequest, names: Sequence[str]) -> Fit:
        """Return which of the nodes take the pod, and why the others don't."""
        table = self._table(pod)
        if table.stale:
            self._renew(table, names)
        fitting = table.fitting
        chosen = [name for name in names if name in fitting]
        if len(chosen) == len(names):
            return Fit(chosen, {})
        unknown = placement.NO_GPUS
        failing = table.failing
        return Fit(chosen, {name: failing.get(name, unknown) for name in names if name not in fitting})

    def _table(self, pod: PodRequest) -> _Table:
        shape = shape_of(pod)
        table = self._tables.get(shape)
        if table is None:
            named = bool(pod.preferences.use_uuids or pod.preferences.avoid_uuids)
            table = _Table(pod, set(self._ledger.nodes()), simple=_simple(pod), by_signature=None if named else {})
            self._tables[shape] = table
            if len(self._tables) > MOST_SHAPES:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(shape)
        return table

    def _renew(self, table: _Table, names: Sequence[str]) -> None:
        asked: Iterable[str] = tuple(table.stale) if len(table.stale) <= len(names) else table.stale.intersection(names)
        for name in asked:
            table.stale.discard(name)
            reason = self._reason(table, name)
            if reason is None:
                table.fitting.add(name)
                table.failing.pop(name, None)
            else:
                table.fitting.discard(name)
                table.failing[name] = reason

    def _reason(self, table: _Table, name: str) -> Reason | None:
        node = self._ledger.node(name)
        if node is None:
            return placement.NO_GPUS
        if table.simple is not None:
            memory, cores = table.simple
            limit = self._rules.shares_per_gpu
            for free_memory, free_cores, shares in node.free:
                if free_memory >= memory and free_cores >= cores and shares < limit:
                    return None
        if table.by_signature is None:
            return placement.reason(node, table.pod, self._rules)
        signature = self._ledger.signature(name)
        if signature not in table.by_signature:
            if len(table.by_signature) > 4 * (len(table.fitting) + len(table.failing)) + 1000:
                table.by_signature.clear()
            table.by_signature[signature] = placement.reason(node, table.pod, self._rules)
        return table.by_signature[signature]

    def _changed(self, name: str) -> None:
        for table in self._tables.values():
            table.stale.add(name)


def _simple(pod: PodRequest) -> tuple[int, int] | None:
    if len(pod.containers) > 1 or pod.preferences.selective:
        return None
    (request,) = pod.containers.values()
    if request.gpus > 1 or request.whole or request.memory_percent:
        return None
    return request.memory, request.cores


def shape_of(pod: PodRequest) -> Shape:
    """Return the parts of a pod that decide where it fits. Containers' names are in it because reasons name them."""
    preferences = pod.preferences
    return (
        preferences.gpu_policy,
        preferences.use_types,
        preferences.avoid_types,
        preferences.use_uuids,
        preferences.avoid_uuids,
        *(
            (name, request.gpus, request.memory, request.memory_percent, request.cores, request.whole, request.role)
            for name, request in pod.containers.items()
        ),
    )
