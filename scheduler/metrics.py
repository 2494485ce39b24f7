"""The metrics of the scheduler extender."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import prometheus_client
from prometheus_client import core, registry

from scheduler import fleet
from unigpu import fit, names, units
from unigpu.ledger import CapacityLedger
from unigpu.units import MiB

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """A registry of its own, so that nothing is shared between two services in one process."""

    def __init__(self, ledger: CapacityLedger, lists: Callable[[], int], shares_per_gpu: int) -> None:
        self.registry = registry.CollectorRegistry()
        self._seconds = prometheus_client.Histogram(
            names.METRIC_SCHEDULER_DURATION,
            "Time to answer the kube-scheduler, by verb and outcome.",
            ("verb", "outcome"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._fleet = fleet.Fleet(ledger, shares_per_gpu)
        self.registry.register(_State(ledger, self._fleet, lists))

    def observe(self, verb: str, outcome: str, seconds: float) -> None:
        """Count a request that was answered."""
        self._seconds.labels(verb, outcome).observe(seconds)

    def text(self) -> bytes:
        """Return the page in Prometheus' text format.

        Lines about single nodes and GPUs are thousands, and are kept ready: prometheus_client takes 5 µs for each.
        """
        page = prometheus_client.generate_latest(self.registry)
        lines = (_NODE_HEAD, *self._fleet.lines(), _GPU_HEAD, *self._fleet.gpu_lines())
        return page + "".join(lines).encode()


_NODE_HEAD = (
    f"# HELP {names.METRIC_SCHEDULER_NODE_FRAGMENTATION} Part of a node's free resource that no typical share "
    "(by share), or no whole GPU (by gpu), could use; only nodes where it isn't 0.\n"
    f"# TYPE {names.METRIC_SCHEDULER_NODE_FRAGMENTATION} gauge\n"
)
_GPU_HEAD = (
    f"# HELP {names.METRIC_SCHEDULER_GPU_FRAGMENTATION} Part of a GPU's free resource that no typical share could use; "
    "only GPUs where it isn't 0.\n"
    f"# TYPE {names.METRIC_SCHEDULER_GPU_FRAGMENTATION} gauge\n"
)


class _State(registry.Collector):
    def __init__(self, ledger: CapacityLedger, figures: fleet.Fleet, lists: Callable[[], int]) -> None:
        self._ledger = ledger
        self._fleet = figures
        self._lists = lists

    def collect(self) -> Iterator[core.Metric]:
        self._fleet.refresh()
        yield _gauge(names.METRIC_SCHEDULER_NODES, "Nodes with GPUs.", self._fleet.nodes)
        yield _gauge(names.METRIC_SCHEDULER_GPUS, "GPUs of those nodes.", self._fleet.gpus)
        yield _gauge(names.METRIC_SCHEDULER_PODS, "Pods that have GPUs.", self._ledger.pods)
        yield _gauge(
            names.METRIC_SCHEDULER_ASSUMED,
            "Those of the pods whose binding the API server hasn't shown yet.",
            self._ledger.assumed,
        )
        yield _gauge(
            names.METRIC_SCHEDULER_OVERBOOKED,
            "GPUs with more allocated than they have; 0 unless another program allocates.",
            len(self._ledger.overbooked()),
        )
        yield _labelled(
            names.METRIC_SCHEDULER_CORDONED,
            "GPUs on which nothing new is placed, by node; only nodes that have some.",
            ("node",),
            (((name,), count) for name, count in self._fleet.cordoned.items()),
        )
        yield from self._fragmentation()
        yield core.CounterMetricFamily(
            names.METRIC_SCHEDULER_RELISTS.removesuffix("_total"),
            "Times that nodes or pods were listed.",
            value=self._lists(),
        )

    def _fragmentation(self) -> Iterator[core.Metric]:
        found = dict(zip(fleet.PURPOSES, self._fleet.fragmentation, strict=True))
        yield _labelled(
            names.METRIC_SCHEDULER_FRAGMENTATION,
            "Part of the fleet's free resource that no typical share (by share), or no whole GPU (by gpu), could use.",
            ("resource", "by"),
            (((resource, by), ratio) for by, part in found.items() for resource, ratio in fleet.ratios(part)),
        )
        yield _labelled(
            names.METRIC_SCHEDULER_FREE_MEMORY,
            "Memory that is free on GPUs that take shares (by share), or whole containers (by gpu).",
            ("by",),
            (((by,), units.to_bytes(MiB(part.free_memory))) for by, part in found.items()),
        )
        yield _labelled(
            names.METRIC_SCHEDULER_FREE_CORES,
            "Compute time that is free on the same GPUs; 1 is one GPU.",
            ("by",),
            (((by,), part.free_cores / fit.FULL) for by, part in found.items()),
        )
        typical = self._fleet.typical
        yield _gauge(
            names.METRIC_SCHEDULER_TYPICAL_MEMORY,
            "Memory of the typical share: the median of those that are allocated.",
            units.to_bytes(typical.memory),
        )
        yield _gauge(
            names.METRIC_SCHEDULER_TYPICAL_CORES, "Compute time of the typical share.", typical.cores / fit.FULL
        )


def _gauge(name: str, text: str, value: float) -> core.GaugeMetricFamily:
    return core.GaugeMetricFamily(name, text, value=value)


def _labelled(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> core.GaugeMetricFamily:
    family = core.GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
