"""Read an exporter's page, and make rates of two of them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from unigpu import documents, names
from unigpu.units import BYTES_PER_MIB

Key = tuple[str, str, str, str]
"""Namespace, pod, container, UUID of the GPU."""
_KEY = ("namespace", "pod", "container", "uuid")
Values = Mapping[str, float]
"""By the metric's name."""
_COUNTERS = (names.METRIC_COMPUTE_SECONDS, names.METRIC_THROTTLED_SECONDS, names.METRIC_ALLOCATION_FAILURES)


@dataclass(slots=True)
class Sample:
    """One container on one GPU, at one moment."""

    node: str = ""
    gpu: str = ""
    """Index of the GPU on its node."""
    values: dict[str, float] = field(default_factory=dict)
    """By the metric's name."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one exporter said."""

    at: float
    """Seconds of a clock that is the same for all pages."""
    samples: Mapping[Key, Sample]
    gpus: Mapping[str, Values] = field(default_factory=dict)
    """Metrics of GPUs, by UUID."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a container uses of a GPU."""

    key: Key
    node: str
    gpu: str
    used: int
    """MiB."""
    limit: int
    """MiB; 0: not limited."""
    compute: float | None
    """Part of the GPU's time that it used between two pages; None: there is no earlier page to compare with."""
    share: float
    """Part of the GPU's time that it may have now; 0: not limited."""
    waiting: float | None
    """Seconds a second for which launches waited for the share, over all its threads; None as `compute`."""
    failures: int
    """Allocations that were refused for the limit since the container got its share."""


def page(text: str, at: float) -> Page:
    """Return the samples on an exporter's page. Raises ValueError for what isn't such a page."""
    from prometheus_client.parser import text_string_to_metric_families  # not at the top: only `top` needs it

    found: dict[Key, Sample] = {}
    gpus: dict[str, dict[str, float]] = {}
    try:
        families = list(text_string_to_metric_families(text))
    except documents.INVALID as error:
        raise ValueError(f"not a page of metrics: {documents.brief(error)}") from error
    for family in families:
        for one in family.samples:
            if one.name.startswith("unigpu_gpu_") and "uuid" in one.labels:
                gpus.setdefault(one.labels["uuid"], {})[one.name] = one.value
            if not one.name.startswith("unigpu_container_") or any(label not in one.labels for label in _KEY):
                continue
            key = tuple(one.labels[label] for label in _KEY)
            sample = found.setdefault((key[0], key[1], key[2], key[3]), Sample())
            sample.node, sample.gpu = one.labels.get("node", ""), one.labels.get("gpu", "")
            sample.values[one.name] = one.value
    return Page(at, found, gpus)


def uses(before: Page | None, now: Page) -> Iterator[Use]:
    """Yield what each container on the page uses; rates since `before`, an earlier page of the same exporter."""
    for key, sample in now.samples.items():
        earlier = before.samples.get(key) if before is not None else None
        seconds = now.at - before.at if before is not None else 0.0
        compute, waiting, failures = (_counter(sample, name) for name in _COUNTERS)
        yield Use(
            key,
            sample.node,
            sample.gpu,
            used=int(sample.values.get(names.METRIC_MEMORY_USED, 0)) // BYTES_PER_MIB,
            limit=int(sample.values.get(names.METRIC_MEMORY_LIMIT, 0)) // BYTES_PER_MIB,
            compute=_rate(earlier, names.METRIC_COMPUTE_SECONDS, compute, seconds),
            share=sample.values.get(names.METRIC_CORES_CURRENT) or sample.values.get(names.METRIC_CORES_LIMIT, 0.0),
            waiting=_rate(earlier, names.METRIC_THROTTLED_SECONDS, waiting, seconds),
            failures=int(failures),
        )


def _counter(sample: Sample, name: str) -> float:
    return sample.values.get(name, 0.0)


def _rate(earlier: Sample | None, name: str, now: float, seconds: float) -> float | None:
    if earlier is None or seconds <= 0:
        return None
    return max(0.0, now - earlier.values.get(name, 0.0)) / seconds


def ordered(found: Iterable[Use], by: str) -> list[Use]:
    """Return the uses, the largest `memory` or `compute` first."""
    if by == "memory":
        return sorted(found, key=lambda one: (-one.used, one.key))
    return sorted(found, key=lambda one: (-(one.compute or 0.0), -one.used, one.key))
