"""Filter and prioritize on a cluster of 5,000 nodes with 8 GPUs each: `make bench-scheduler`.

Rows, each the median and the 99th percentile over its rounds, in milliseconds:

    filter, warm      a shape that was seen before, one pod bound between two questions (what a busy cluster does)
    filter, new shape a shape that was never seen: every node is compared
    … whole GPU       the same for a container that wants a GPU whole
    … two containers  the same for a pod of two containers
    … fits nowhere    the same for a share that no GPU has free, with the reason of every node
    filter, HTTP      warm, over a socket with the JSON of all 5,000 names both ways, through the whole service
    prioritize        all 5,000 nodes
    scrape            the page of metrics, one pod bound and one ended between two
    … new typical     the same when the typical share has become another, so that every node is counted again
    place             the choice of GPUs on one node, as bind does it

"mixed" is a cluster where no two nodes are alike; "empty" one where all are.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import aiohttp
from aiohttp import web

from scheduler import (
    binding,
    budget_cache,
    cache,
    filter_prioritize,
    fit_cache,
    metrics,
    other_plugins,
    preemption,
    server,
    staleness_guard,
)
from unigpu import names, placement, requests, vendor_resources
from unigpu.allocations import GpuUsage
from unigpu.fit import Node
from unigpu.gpus import Gpu
from unigpu.ledger import Booking, CapacityLedger
from unigpu.modes import NodeMode
from unigpu.requests import PlacementPolicy, PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent
from unigpu_kube.client import Json
from unigpu_service import runtime

GPU = 40960
RULES = placement.Rules()


def make(nodes: int, gpus: int, mixed: bool) -> CapacityLedger:
    """A cluster, its GPUs about half taken if `mixed`."""
    chance = random.Random(7)
    ledger = CapacityLedger()
    for number in range(nodes):
        name = f"node-{number:05}"
        node_gpus = [
            Gpu(GpuUuid(f"GPU-{name}-{index}"), index, index, "NVIDIA A100", MiB(GPU)) for index in range(gpus)
        ]
        ledger.set_node(name, node_gpus, NodeMode.MIXED, None)
        for gpu in node_gpus if mixed else ():
            for share in range(chance.randrange(4)):
                use = GpuUsage(MiB(chance.randrange(1000, 12000)), chance.randrange(0, 30), 1)
                ledger.book(f"{gpu.uuid}-{share}", Booking("default/p", name, {gpu.uuid: use}))
    return ledger


NEW_SHAPES = {
    "whole GPU": Request(1, whole=True),
    "two containers": Request(1, MiB(4000), cores=Percent(10)),
    "fits nowhere": Request(1, MiB(GPU + 1)),
}


def asking(memory: int, cores: int) -> PodRequest:
    return PodRequest({"main": Request(1, MiB(memory), cores=Percent(cores))})


def rounds(
    count: int, once: Callable[[int], object], between: Callable[[int], object] = lambda _: None
) -> Iterator[float]:
    """Milliseconds of each round."""
    for number in range(count):
        between(number)
        start = time.perf_counter()
        once(number)
        yield (time.perf_counter() - start) * 1000


def show(row: str, values: list[float], goal: float | None = None) -> dict[str, object]:
    values = sorted(values)
    median, worst = statistics.median(values), values[min(len(values) - 1, int(len(values) * 0.99))]
    print(f"{row:34} {median:9.3f} {worst:9.3f}" + (f"   goal {goal:g}" if goal else ""))
    return {"row": row, "median_ms": round(median, 4), "p99_ms": round(worst, 4), "goal_ms": goal}


def churn(ledger: CapacityLedger, all_names: list[str]) -> Callable[[int], object]:
    """Bind one pod somewhere, and end the one bound ten rounds before."""
    chance = random.Random(3)

    def change(number: int) -> None:
        name = chance.choice(all_names)
        node = ledger.node(name)
        assert node is not None
        gpu = chance.choice(node.gpus).gpu.uuid
        ledger.book(f"churn-{number}", Booking("default/p", name, {gpu: GpuUsage(MiB(100), 1, 1)}, confirmed=False))
        ledger.release(f"churn-{number - 10}")

    return change


async def over_http(ledger: CapacityLedger, all_names: list[str], count: int) -> list[float]:
    """Milliseconds of filter as a kube-scheduler waits for it."""
    change = churn(ledger, all_names)
    annotations = {names.ANNOTATION_REQUEST: requests.dump(asking(8192, 30))}
    metadata = {"name": "p", "namespace": "default", "uid": "u", "annotations": annotations}
    document = {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}}
    body = json.dumps({"Pod": document, "Nodes": None, "NodeNames": all_names}).encode()
    state = cache.ClusterCache(ledger)

    async def nothing(_: str) -> list[Json]:
        return []

    guard = staleness_guard.StalenessGuard(nothing, state, time.monotonic)
    async with runtime.supervise() as supervisor:
        binder = binding.Binder(None, state, RULES, guard, supervisor)  # type: ignore[arg-type]
        answers = server.Server(
            ledger,
            fit_cache.FitCache(ledger, RULES),
            binder,
            guard,
            metrics.Metrics(ledger, lambda: 0, RULES.shares_per_gpu),
            lambda: None,
            RULES,
            PlacementPolicy.BINPACK,
            other_plugins.OtherPlugins(vendor_resources.RESOURCES),
            state.waiting,
            preemption.Preemption(state, RULES, budget_cache.BudgetCache(), vendor_resources.RESOURCES),
        )
        runner = web.AppRunner(answers.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/filter"
        found = []
        async with aiohttp.ClientSession() as session:
            for number in range(count + 5):
                change(number)
                start = time.perf_counter()
                async with session.post(url, data=body) as response:
                    await response.read()
                found.append((time.perf_counter() - start) * 1000)
        await runner.cleanup()
    return found[5:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON document at the end")
    told = parser.parse_args()
    results = []
    print(f"{told.nodes} nodes × {told.gpus} GPUs{'':12} median ms    p99 ms")
    for kind in ("mixed", "empty"):
        ledger = make(told.nodes, told.gpus, kind == "mixed")
        all_names = [f"node-{number:05}" for number in range(told.nodes)]
        change = churn(ledger, all_names)
        known = fit_cache.FitCache(ledger, RULES)

        def filter_warm(_: int, known: fit_cache.FitCache = known, all_names: list[str] = all_names) -> None:
            filter_prioritize.filter_nodes(known, asking(8192, 30), all_names)

        def filter_new(number: int, known: fit_cache.FitCache = known, all_names: list[str] = all_names) -> None:
            filter_prioritize.filter_nodes(known, asking(8000 + number, 30), all_names)

        filter_warm(0)
        results.append(show(f"{kind}: filter, warm", list(rounds(told.rounds, filter_warm, change)), 2.0))
        results.append(show(f"{kind}: filter, new shape", list(rounds(min(told.rounds, 50), filter_new)), 2.0))
        for title, wish in NEW_SHAPES.items():

            def filter_other(
                number: int,
                known: fit_cache.FitCache = known,
                all_names: list[str] = all_names,
                wish: Request = wish,
                title: str = title,
            ) -> None:
                # A container's name is part of the shape.
                second = {"second": wish} if title == "two containers" else {}
                filter_prioritize.filter_nodes(known, PodRequest({f"c{number}": wish, **second}), all_names)

            results.append(show(f"{kind}: … {title}", list(rounds(min(told.rounds, 50), filter_other))))
        results.append(show(f"{kind}: filter, HTTP", asyncio.run(over_http(ledger, all_names, told.rounds))))

        def score(
            _: int,
            ledger: CapacityLedger = ledger,
            all_names: list[str] = all_names,
            known: fit_cache.FitCache = known,
        ) -> None:
            filter_prioritize.prioritize(ledger, PlacementPolicy.BINPACK, all_names, known, asking(8192, 30))

        results.append(show(f"{kind}: prioritize", list(rounds(told.rounds, score, change))))
        page = metrics.Metrics(ledger, lambda: 0, RULES.shares_per_gpu)

        def scrape(_: int, page: metrics.Metrics = page) -> None:
            page.text()

        scrape(0)
        results.append(show(f"{kind}: scrape", list(rounds(min(told.rounds, 50), scrape, change))))

        def other_typical(number: int, ledger: CapacityLedger = ledger) -> None:
            ledger.share_sizes.count(GpuUsage(MiB(2000 + 1000 * (number % 2)), 5, 1), 10 ** (9 + number))

        results.append(show(f"{kind}: … new typical", list(rounds(10, scrape, other_typical))))
        node = ledger.node(all_names[0])
        assert node is not None

        def place(_: int, node: Node = node) -> None:
            placement.place(node, asking(1000, 5), RULES)

        results.append(show(f"{kind}: place", list(rounds(told.rounds, place))))
    if told.json:
        print(json.dumps({"nodes": told.nodes, "gpus": told.gpus, "rows": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
