"""The figures of a measured fleet, and their tables."""

import dataclasses
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOAL_RATE = 180.0
GOAL_RATIO = 0.9
GOAL_FILTER_MS = 0.5
GOAL_NEW_MS = 2.0
GOAL_HTTP_P99_MS = 3.0


Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one part took while the pods were bound."""

    cpu: float
    """Seconds of CPU."""
    memory: int
    """Bytes at the end."""


@dataclass(frozen=True, slots=True)
class Round:
    """Pods a second, of pods that were created together."""

    created: float
    bound: float
    """From the first creation to the last binding."""
    sustained: float
    """Between the first and the last tenth of the bindings."""


@dataclass(frozen=True, slots=True)
class Run:
    """One way to bind pods."""

    pods: int
    rounds: Sequence[Round]
    wait_p50: float
    """Seconds from creation to binding."""
    wait_p99: float
    costs: Mapping[str, Cost]
    """What each part took while pods were bound."""
    ended: float
    """Pods gone a second, in the end."""

    @property
    def bound(self) -> float:
        """Median of the rounds."""
        return statistics.median(each.bound for each in self.rounds)

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU that all parts together took for a pod."""
        return sum(cost.cpu for cost in self.costs.values()) / self.pods * 1000


@dataclass(frozen=True, slots=True)
class Extender:
    """What the extender showed. Pairs are the median and the 99th percentile in milliseconds."""

    verbs: Mapping[str, Pair]
    """Of the kube-scheduler's own questions, by the extender's histogram."""
    beside: Pair
    """Filter of all nodes over HTTP, while pods are bound."""
    rest: Pair
    """The same at rest."""
    new: Pair
    """The same for a shape that was never seen."""
    start: float
    """Seconds from the start of another extender to its readiness, with all pods there."""
    another: Cost
    """What that one took until then."""


@dataclass(frozen=True, slots=True)
class Size:
    """All figures of one number of nodes."""

    nodes: int
    stock: Run
    unigpu: Run
    extender: Extender
    machine: Mapping[str, str]

    @property
    def ratio(self) -> float:
        """What unigpu binds of what the stock scheduler binds: the median of the rounds."""
        pairs = zip(self.unigpu.rounds, self.stock.rounds, strict=True)
        return statistics.median(ours.bound / theirs.bound for ours, theirs in pairs)


def quantiles(values: Sequence[float]) -> Pair:
    """Return the median and the 99th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def lines(size: Size) -> Iterator[str]:
    """Yield the tables of a size."""
    yield f"\n{size.nodes} nodes, {size.unigpu.pods} pods in {len(size.unigpu.rounds)} rounds; {size.machine}"
    yield from rate_lines(size)
    yield from cost_lines(size)
    yield from extender_lines(size.extender)


def rate_lines(size: Size) -> Iterator[str]:
    """Yield how many pods a second were created, bound and ended."""
    yield f"\n{'pods a second':44}{'stock':>9}{'unigpu':>9}{'ratio':>9}"
    for title, rate in (
        ("created", "created"),
        ("bound, first creation to last binding", "bound"),
        ("bound, sustained", "sustained"),
    ):
        stock, ours = ([getattr(each, rate) for each in run.rounds] for run in (size.stock, size.unigpu))
        ratio = statistics.median(one / other for one, other in zip(ours, stock, strict=True))
        yield f"{title:44}{statistics.median(stock):9.0f}{statistics.median(ours):9.0f}{ratio:9.2f}"
    yield f"{'ended':44}{size.stock.ended:9.0f}{size.unigpu.ended:9.0f}{size.unigpu.ended / size.stock.ended:9.2f}"
    for title, one, other in (
        ("wait, median, s", size.stock.wait_p50, size.unigpu.wait_p50),
        ("wait, 99th percentile, s", size.stock.wait_p99, size.unigpu.wait_p99),
    ):
        yield f"{title:44}{one:9.2f}{other:9.2f}"


def cost_lines(size: Size) -> Iterator[str]:
    """Yield a table of what each part took: CPU for a pod, and memory."""
    yield f"\n{'ms of CPU a pod':44}{'stock':>9}{'unigpu':>9}{'MiB':>9}{'MiB':>9}"
    both = (size.stock, size.unigpu)
    for name in dict.fromkeys(name for run in both for name in run.costs):
        costs = [run.costs.get(name) for run in both]
        cells = [
            f"{cost.cpu / run.pods * 1000:9.2f}" if cost else " " * 9 for cost, run in zip(costs, both, strict=True)
        ]
        cells += [f"{cost.memory / 2**20:9.0f}" if cost and cost.memory else " " * 9 for cost in costs]
        yield f"{name:44}{''.join(cells)}".rstrip()
    yield f"{'all':44}{size.stock.cpu_ms:9.2f}{size.unigpu.cpu_ms:9.2f}"


def extender_lines(found: Extender) -> Iterator[str]:
    """Yield what the extender showed."""
    rows = {f"{verb}, asked by the kube-scheduler": pair for verb, pair in found.verbs.items()}
    rows |= {"filter of all nodes over HTTP, beside load": found.beside, "… at rest": found.rest}
    rows |= {"… at rest, of a new shape": found.new}
    yield f"\n{'extender':44}{'p50 ms':>9}{'p99 ms':>9}"
    for title, (median, highest) in rows.items():
        yield f"{title:44}{median:9.2f}{highest:9.2f}"
    yield (
        f"another extender from nothing: {found.start:.1f} s, {found.another.cpu:.1f} s of CPU, "
        f"{found.another.memory / 2**20:.0f} MiB"
    )


def missed(size: Size) -> Iterator[str]:
    """Yield each goal that a size misses."""
    if size.unigpu.bound < GOAL_RATE and size.ratio < GOAL_RATIO:
        yield f"{size.unigpu.bound:.0f} pods a second, {size.ratio:.2f} of the stock scheduler"
    for words, found, goal in (
        ("filter p50", size.extender.verbs["filter"][0], GOAL_FILTER_MS),
        ("new shape p50", size.extender.new[0], GOAL_NEW_MS),
        ("HTTP p99", size.extender.rest[1], GOAL_HTTP_P99_MS),
    ):
        if found > goal:
            yield f"{words} {found:.2f} ms, and the goal is {goal:g}"


def save(sizes: Sequence[Size], file: Path) -> None:
    """Write the figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([dataclasses.asdict(size) for size in sizes], indent=1))


def load(file: Path) -> list[Size]:
    """Read what `save` wrote."""
    return [
        Size(each["nodes"], _run(each["stock"]), _run(each["unigpu"]), _extender(each["extender"]), each["machine"])
        for each in json.loads(file.read_text())
    ]


def _run(document: dict[str, Any]) -> Run:
    rounds = [Round(**each) for each in document["rounds"]]
    return Run(
        **{**document, "rounds": rounds, "costs": {name: Cost(**cost) for name, cost in document["costs"].items()}}
    )


def _extender(document: dict[str, Any]) -> Extender:
    verbs = {verb: (pair[0], pair[1]) for verb, pair in document["verbs"].items()}
    pairs = {name: (document[name][0], document[name][1]) for name in ("beside", "rest", "new")}
    return Extender(verbs, **pairs, start=document["start"], another=Cost(**document["another"]))
