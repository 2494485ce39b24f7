"""The webhook's own metrics."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from unigpu import names
from webhook.tls.serving_cert import ServingCertificate

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)


class Metrics:
    """Counts of reviews, their latency, and the expiry of the certificate."""

    def __init__(self, identity: ServingCertificate) -> None:
        self._registry = CollectorRegistry()
        self._reviews = Counter(
            names.METRIC_WEBHOOK_REVIEWS.removesuffix("_total"),
            "Admission reviews by path, dialect (none, or mixed for several in one pod) and outcome",
            ["path", "dialect", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            names.METRIC_WEBHOOK_SECONDS,
            "Time from the last byte of a review to its answer",
            ["path"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        expiry = Gauge(
            names.METRIC_WEBHOOK_EXPIRY,
            "Expiry of the serving certificate, as a Unix timestamp",
            registry=self._registry,
        )
        expiry.set_function(lambda: identity.expires.timestamp() if identity.expires else 0.0)

    def count_skipped(self, number: Callable[[], float]) -> None:
        """Export the number of pods that skipped admission."""
        skipped = Gauge(
            names.METRIC_WEBHOOK_SKIPPED,
            "Pods that ask for GPUs and were created while no webhook answered",
            registry=self._registry,
        )
        skipped.set_function(number)

    def reviewed(self, path: str, dialects: Sequence[str], outcome: str, seconds: float) -> None:
        """Count one review."""
        dialect = "mixed" if len(dialects) > 1 else (dialects[0] if dialects else "none")
        self._reviews.labels(path, dialect, outcome).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Return the body of /metrics."""
        return generate_latest(self._registry)
