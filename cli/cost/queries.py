"""What Prometheus is asked, slice by slice of the time, and what the answers add up to. Pure.

A container's GPUs are reserved by its dominant share: of memory and compute time, the larger part of the GPU that
others can't have. It is what the recording rule for OpenCost says too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cli.prometheus import Series
from unigpu import names

SHORTEST = 600
"""Seconds of a slice that isn't divided further."""
_STEP = 60
_KEY = "namespace, pod, container, node, gpu, uuid"
_MEMORY_SHARE = (
    f"max by ({_KEY}) ({names.METRIC_MEMORY_LIMIT})"
    f" / on (node, uuid) group_left max by (node, uuid) ({names.METRIC_GPU_MEMORY_TOTAL})"
)
_CORES_SHARE = f"max by ({_KEY}) ({names.METRIC_CORES_LIMIT})"
DOMINANT = (
    f"max by ({_KEY}) (label_replace({_MEMORY_SHARE}, 'of', 'memory', '', '')"
    f" or label_replace({_CORES_SHARE}, 'of', 'cores', '', ''))"
)
"""Part of a GPU that each container keeps from others, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the time, in seconds since the epoch."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """How long it is."""
        return self.end - self.start

    def halves(self) -> Iterator["Slice"]:
        """Yield two slices that are the same time together."""
        middle = self.start + self.seconds // 2 // _STEP * _STEP
        yield Slice(self.start, middle)
        yield Slice(middle, self.end)


def slices(start: int, end: int, longest: int = 86400) -> Iterator[Slice]:
    """Yield the time in slices, the last one shorter."""
    while start < end:
        yield Slice(start, min(end, start + longest))
        start += longest


def expressions(part: Slice, namespace: str) -> Mapping[str, str]:
    """Return what is asked for a slice at its end, by name: seconds of each kind, and dialects.

    Reserved amounts are looked at once a minute, and count for that minute.
    """
    window = f"[{part.seconds}s]"
    steps = f"[{part.seconds}s:{_STEP}s]"
    chosen = f'{{namespace="{namespace}"}}' if namespace else ""

    def only(expression: str) -> str:
        return expression if not namespace else f"({expression}) and on (namespace) ({_has(namespace)})"

    return {
        "used": f"sum by (namespace, pod) (increase({names.METRIC_COMPUTE_SECONDS}{chosen}{window}))",
        "reserved": f"sum by (namespace, pod) (sum_over_time(({only(DOMINANT)}){steps})) * {_STEP}",
        "memory": f"sum by (namespace, pod) (sum_over_time({names.METRIC_MEMORY_LIMIT}{chosen}{steps})) * {_STEP}",
        "dialect": f"max by (namespace, pod, dialect) (max_over_time({names.METRIC_CONTAINER_INFO}{chosen}{window}))",
    }


def _has(namespace: str) -> str:
    return f'label_replace(vector(1), "namespace", "{namespace}", "", "")'


@dataclass(slots=True)
class Line:
    """What one pod had, or all pods of a namespace or a dialect."""

    used: float = 0.0
    """GPU seconds that were charged to it: GPU time that its kernels took."""
    reserved: float = 0.0
    """GPU seconds that were kept for it."""
    memory: float = 0.0
    """Byte seconds of GPU memory that were kept for it."""
    dialects: set[str] = field(default_factory=set)

    def add(self, other: "Line") -> None:
        """Add another line to this one."""
        self.used += other.used
        self.reserved += other.reserved
        self.memory += other.memory
        self.dialects |= other.dialects


Pods = dict[tuple[str, str], Line]


def add(pods: Pods, answers: Mapping[str, Sequence[Series]]) -> None:
    """Add the answers of a slice to what pods had so far."""
    for name in ("used", "reserved", "memory"):
        for series in answers[name]:
            line = pods.setdefault(_pod(series), Line())
            setattr(line, name, getattr(line, name) + max(0.0, series.last))
    for series in answers["dialect"]:
        if (dialect := series.labels.get("dialect", "")) and _pod(series) in pods:
            pods[_pod(series)].dialects.add(dialect)


def _pod(series: Series) -> tuple[str, str]:
    return series.labels.get("namespace", ""), series.labels.get("pod", "")
