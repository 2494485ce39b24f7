"""The metrics of the node agent. What containers and GPUs have is the exporter's to say."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Literal

import prometheus_client
from prometheus_client import core, registry

from unigpu import errors, names

BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
Prepare = Callable[[Sequence[str]], Awaitable[None]]
Change = Literal["changed", "refused"]


class Metrics:
    """A registry of its own, so that nothing is shared between two services in one process."""

    def __init__(self, unready: Callable[[], str], grants: Callable[[], int]) -> None:
        """`unready`: what keeps the agent from serving, a reason a line; empty: nothing does.

        `grants`: how many containers have GPUs.
        """
        self.registry = registry.CollectorRegistry()
        self._seconds = prometheus_client.Histogram(
            names.METRIC_AGENT_ALLOCATION,
            "Time to prepare a container that starts, by outcome; the kubelet asks again after each but allocated.",
            ("outcome",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._changes = prometheus_client.Counter(
            names.METRIC_AGENT_LIMIT_CHANGES.removesuffix("_total"),
            "Changes of running pods' limits, put in force or refused.",
            ("outcome",),
            registry=self.registry,
        )
        self._cuts = prometheus_client.Counter(
            names.METRIC_AGENT_USAGE_FILE_CUTS.removesuffix("_total"),
            "How often a usage file that a container made longer was cut back.",
            registry=self.registry,
        )
        for outcome in ("allocated", "denied", "unavailable", "error"):
            self._seconds.labels(outcome)  # a rate needs the 0 before the first one
        for change in ("changed", "refused"):
            self._changes.labels(change)
        self.registry.register(_State(unready, grants))

    def timed(self, prepare: Prepare) -> Prepare:
        """Return the same, counted and timed."""

        async def counted(slots: Sequence[str]) -> None:
            began, outcome = time.monotonic(), "error"
            try:
                await prepare(slots)
                outcome = "allocated"
            except (errors.Denied, errors.Malformed):
                outcome = "denied"
                raise
            except errors.UnigpuError:
                outcome = "unavailable"
                raise
            finally:
                self._seconds.labels(outcome).observe(time.monotonic() - began)

        return counted

    def count(self, change: Change) -> None:
        """Count a change of a pod's limits."""
        self._changes.labels(change).inc()

    def count_cut(self) -> None:
        """Count a usage file that was cut back."""
        self._cuts.inc()

    def text(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


class _State(registry.Collector):
    def __init__(self, unready: Callable[[], str], grants: Callable[[], int]) -> None:
        self._unready, self._grants = unready, grants

    def collect(self) -> Iterator[core.Metric]:
        reasons = self._unready().splitlines()
        yield core.GaugeMetricFamily(
            names.METRIC_AGENT_READY,
            "Whether containers with GPUs can start on the node, and limits change.",
            value=int(not reasons),
        )
        unready = core.GaugeMetricFamily(
            names.METRIC_AGENT_UNREADY, "Why the node agent isn't ready; always 1.", labels=["reason"]
        )
        for reason in reasons:
            unready.add_metric([reason], 1)
        yield unready
        yield core.GaugeMetricFamily(
            names.METRIC_AGENT_GRANTS, "Containers on the node that have GPUs.", value=self._grants()
        )
