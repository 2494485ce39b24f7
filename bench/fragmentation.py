"""Fragmentation under random arrivals and departures, by the rule that places pods: `make bench-fragmentation`.

Every rule gets the same 10,000 pods on 12 nodes × 8 GPUs of 40 GiB: they arrive, each with the same time to live under
every rule, and leave. A pod that fits nowhere is turned away. The load is such that some are, under every rule.

    first fit         the first node, and its first GPUs, that take the pod
    plain binpack     the node, and then the GPUs, with the most memory taken
    HAMi              the node with the highest sum of used parts of shares, cores and memory; on it the GPUs with the
                      lowest (its defaults), or the highest (its binpack) such sum
    unigpu            scheduler.filter_prioritize and unigpu.placement as they are

Columns: fragmentation of memory for a typical share and for a whole GPU, the mean over the second half of the events;
and pods turned away, those that wanted whole GPUs counted apart.
"""

import argparse
import heapq
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import chart
from scheduler import filter_prioritize, fit_cache
from unigpu import allocations, fit, fragmentation, placement
from unigpu.allocations import Allocation
from unigpu.fit import GpuState, Node
from unigpu.fragmentation import ShareSize
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

PICTURE: Final = Path(__file__).parents[1] / "docs/pictures/fragmentation.svg"
GPU: Final = 40960
RULES: Final = placement.Rules()
NODES, GPUS, EVENTS = 12, 8, 10_000
LIFE: Final = 21
"""Mean number of arrivals, for each node, during which a pod stays."""
SAMPLE: Final = 50
"""Events between two samples."""
SHARES: Final = (
    (Request(1, MiB(4096), cores=Percent(10)), 25),
    (Request(1, MiB(8192), cores=Percent(20)), 25),
    (Request(1, MiB(10240), cores=Percent(40)), 10),
    (Request(1, MiB(16384), cores=Percent(25)), 12),
    (Request(1, MiB(24576), cores=Percent(50)), 8),
    (Request(1, MiB(2048), cores=Percent(30)), 6),
    (Request(2, MiB(12288), cores=Percent(30)), 4),
    (Request(1, whole=True), 7),
    (Request(2, whole=True), 3),
)
"""What pods ask for, and how many of a hundred do."""

Choose = Callable[[CapacityLedger, PodRequest], Allocation | None]


@dataclass(frozen=True, slots=True)
class Event:
    """A pod that arrives."""

    request: Request
    life: int
    """Arrivals after which it leaves."""


@dataclass(slots=True)
class Outcome:
    """What a rule made of the events."""

    name: str
    share: list[float] = field(default_factory=list)
    gpu: list[float] = field(default_factory=list)
    """Fragmentation of memory for each purpose, 0 to 1, one for each sample."""
    turned_away: int = 0
    turned_away_whole: int = 0

    def means(self) -> tuple[float, float]:
        """Return the means over the second half."""
        return (statistics.fmean(self.share[len(self.share) // 2 :]), statistics.fmean(self.gpu[len(self.gpu) // 2 :]))


def events(count: int, nodes: int, seed: int) -> list[Event]:
    """Return random arrivals. Their number at the same time is about what the cluster holds."""
    chance = random.Random(seed)
    requests, weights = zip(*SHARES, strict=True)
    return [
        Event(request, max(1, int(chance.expovariate(1 / (LIFE * nodes)))))
        for request in chance.choices(requests, weights, k=count)
    ]


def by_rule(node_key: Callable[[Node], float], gpu_key: Callable[[GpuState], float]) -> Choose:
    """Return the rule that takes the node, and its GPUs, with the lowest key; of equals the first."""

    def choose(ledger: CapacityLedger, pod: PodRequest) -> Allocation | None:
        ((name, request),) = pod.containers.items()
        best: tuple[float, Node, list[GpuState]] | None = None
        for node_name in ledger.nodes():
            node = ledger.node(node_name)
            assert node is not None
            taking = [state for state in node.gpus if fit.check_fit(state, request, pod.preferences, 16) is None]
            if len(taking) < request.gpus:
                continue
            key = node_key(node)
            if best is None or key < best[0]:
                best = (key, node, taking)
        if best is None:
            return None
        _, node, taking = best
        chosen = sorted(taking, key=gpu_key)[: request.gpus]
        return Allocation(node.name, {name: tuple(fit.share_of(state.gpu, request) for state in chosen)})

    return choose


def unigpu() -> Choose:
    """Return the rule of the scheduler itself."""
    known: dict[CapacityLedger, fit_cache.FitCache] = {}

    def choose(ledger: CapacityLedger, pod: PodRequest) -> Allocation | None:
        fits = known.setdefault(ledger, fit_cache.FitCache(ledger, RULES))
        names = filter_prioritize.filter_nodes(fits, pod, list(ledger.nodes()))["NodeNames"]
        if not names:
            return None
        scores = filter_prioritize.prioritize(ledger, PlacementPolicy.BINPACK, names, fits, pod)
        points = {entry["Host"]: entry["Score"] for entry in scores}
        node = ledger.node(max(names, key=lambda name: points.get(name, 0)))
        assert node is not None
        return placement.place(node, pod, RULES)

    return choose


def _used(state: GpuState) -> float:
    """Return HAMi's score of a GPU: the sum of the used parts of shares, cores and memory."""
    taken = state.taken
    return taken.shares / RULES.shares_per_gpu + taken.cores / 100 + taken.memory / state.gpu.memory


def _mean(key: Callable[[GpuState], float]) -> Callable[[Node], float]:
    return lambda node: sum(map(key, node.gpus)) / len(node.gpus)


CHOICES: Final[dict[str, Callable[[], Choose]]] = {
    "first fit": lambda: by_rule(lambda _: 0, lambda _: 0),
    "plain binpack": lambda: by_rule(
        lambda node: -sum(state.taken.memory for state in node.gpus), lambda state: -state.taken.memory
    ),
    "HAMi": lambda: by_rule(lambda node: -_mean(_used)(node), _used),
    "HAMi, binpack": lambda: by_rule(lambda node: -_mean(_used)(node), lambda state: -_used(state)),
    "unigpu": unigpu,
}


def play(name: str, choose: Choose, arrivals: Sequence[Event], nodes: int) -> Outcome:
    """Let pods arrive and leave; return what was measured."""
    ledger = CapacityLedger()
    for number in range(nodes):
        node_gpus = [
            Gpu(GpuUuid(f"GPU-{number}-{index}"), index, index, "NVIDIA A100", MiB(GPU)) for index in range(GPUS)
        ]
        ledger.set_node(f"node-{number:03}", node_gpus, NodeMode.MIXED, None)
    typical = ShareSize(MiB(8192), Percent(20))
    found = Outcome(name)
    leaving: list[tuple[int, str]] = []
    for number, event in enumerate(arrivals):
        while leaving and leaving[0][0] <= number:
            ledger.release(heapq.heappop(leaving)[1])
        allocation = choose(ledger, PodRequest({"main": event.request}))
        if allocation is None:
            found.turned_away += 1
            found.turned_away_whole += event.request.whole
        else:
            ledger.book(str(number), Booking("default/p", allocation.node, allocations.pod_usage(allocation, {})))
            heapq.heappush(leaving, (number + event.life, str(number)))
        if number % SAMPLE == 0:
            share, gpu = fragmentation.total(
                fragmentation.of_node(node, typical, RULES.shares_per_gpu)
                for name in ledger.nodes()
                if (node := ledger.node(name)) is not None
            )
            found.share.append(share.memory)
            found.gpu.append(gpu.memory)
    assert not ledger.overbooked()
    return found


def picture(found: Sequence[Outcome]) -> str:
    """Draw the fragmentation over the events, one panel for each purpose."""
    by_purpose = {
        "Free memory that no typical share could use": [chart.Line(one.name, _smooth(one.share)) for one in found],
        "Free memory that no whole GPU could use": [chart.Line(one.name, _smooth(one.gpu)) for one in found],
    }
    panels = [chart.Panel(title, lines, len(found[0].share) * SAMPLE) for title, lines in by_purpose.items()]
    return chart.draw(panels)


def _smooth(values: Sequence[float], width: int = 16) -> list[float]:
    return [statistics.fmean(values[max(0, place - width) : place + 1]) for place in range(len(values))]


def table(found: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of the figures."""
    yield f"{'rule':16} {'by share':>9} {'by GPU':>9} {'turned away':>12} {'of them whole':>14}"
    for one in found:
        share, gpu = one.means()
        yield f"{one.name:16} {share:9.1%} {gpu:9.1%} {one.turned_away:12} {one.turned_away_whole:14}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", action="store_true", help=f"draw docs/pictures/{PICTURE.name}")
    parser.add_argument("--json", action="store_true", help="one JSON document at the end")
    given = parser.parse_args()
    arrivals = events(given.events, given.nodes, given.seed)
    found = [play(name, make(), arrivals, given.nodes) for name, make in CHOICES.items()]
    print("\n".join(table(found)))
    if given.picture:
        PICTURE.write_text(picture(found))
    if given.json:
        rows = [dict(zip(("rule", "share", "gpu"), (one.name, *one.means()), strict=True)) for one in found]
        print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
