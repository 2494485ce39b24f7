"""The page's own metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from unigpu import names


class Metrics:
    """A registry of its own."""

    def __init__(self, viewers: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            names.METRIC_PAGE_REQUESTS.removesuffix("_total"),
            "Requests to the page, by path and HTTP status.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            names.METRIC_PAGE_DURATION,
            "Time to answer a request to the page.",
            ("path",),
            buckets=(0.005, 0.02, 0.1, 0.3, 1, 3, 10, 30),
            registry=self._registry,
        )
        Gauge(names.METRIC_PAGE_VIEWERS, "Viewers whose last answer is kept.", registry=self._registry).set_function(
            viewers
        )

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count a request. `path` is one of the page's own, not what a client made up."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return generate_latest(self._registry)
