"""The metrics of the scheduler extender."""

from collections.abc import Callable, Iterable, Iterator

import prometheus_client
from prometheus_client import core, registry

from unigpu import names
from unigpu.fit import Node
from unigpu.ledger import CapacityLedger

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """A registry of its own, so that nothing is shared between two services in one process."""

    def __init__(self, ledger: CapacityLedger, lists: Callable[[], int]) -> None:
        self.registry = registry.CollectorRegistry()
        self._seconds = prometheus_client.Histogram(
            names.METRIC_SCHEDULER_DURATION,
            "Time to answer the kube-scheduler, by verb and outcome.",
            ("verb", "outcome"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_State(ledger, lists))

    def observe(self, verb: str, outcome: str, seconds: float) -> None:
        """Count a request that was answered."""
        self._seconds.labels(verb, outcome).observe(seconds)

    def text(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


class _State(registry.Collector):
    def __init__(self, ledger: CapacityLedger, lists: Callable[[], int]) -> None:
        self._ledger = ledger
        self._lists = lists

    def collect(self) -> Iterator[core.Metric]:
        ledger = self._ledger
        nodes = [node for name in ledger.nodes() if (node := ledger.node(name)) is not None]
        bookings = [booking for _, booking in ledger.bookings()]
        yield _gauge(names.METRIC_SCHEDULER_NODES, "Nodes with GPUs.", len(nodes))
        yield _gauge(names.METRIC_SCHEDULER_GPUS, "GPUs of those nodes.", sum(len(node.gpus) for node in nodes))
        yield _gauge(names.METRIC_SCHEDULER_PODS, "Pods that have GPUs.", len(bookings))
        yield _gauge(
            names.METRIC_SCHEDULER_ASSUMED,
            "Those of the pods whose binding the API server hasn't shown yet.",
            sum(not booking.confirmed for booking in bookings),
        )
        yield _gauge(
            names.METRIC_SCHEDULER_OVERBOOKED,
            "GPUs with more allocated than they have; 0 unless another program allocates.",
            len(ledger.overbooked()),
        )
        yield _cordoned(nodes)
        yield core.CounterMetricFamily(
            names.METRIC_SCHEDULER_RELISTS.removesuffix("_total"),
            "Times that nodes or pods were listed.",
            value=self._lists(),
        )


def _cordoned(nodes: Iterable[Node]) -> core.GaugeMetricFamily:
    family = core.GaugeMetricFamily(
        names.METRIC_SCHEDULER_CORDONED,
        "GPUs on which nothing new is placed, by node; only nodes that have some.",
        labels=("node",),
    )
    for node in nodes:
        count = sum(state.cordoned for state in node.gpus)
        if count:
            family.add_metric((node.name,), count)
    return family


def _gauge(name: str, text: str, value: float) -> core.GaugeMetricFamily:
    return core.GaugeMetricFamily(name, text, value=value)
