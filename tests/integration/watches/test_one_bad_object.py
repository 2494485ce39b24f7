"""One object among a thousand that no parser expects, in each watch of each part: one log line, all else goes on."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from deviceplugin import pods as agent_pods
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from scheduler.budget_cache import BudgetCache
from scheduler.cache import ClusterCache as SchedulerCache
from tests.integration.scheduler.apiserver import ApiServer
from unigpu import allocations, api_objects, budgets, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.api_objects import PodFacts
from unigpu.gpus import Gpu
from unigpu.ledger import CapacityLedger
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent
from unigpu_kube import client, library
from unigpu_kube.reflector import Listing, Reflector, Sink, Source
from webhook.admission.cluster_cache import ClusterCache as WebhookCache
from webhook.admission.cluster_cache import NodeGpus, namespace_rules, node_gpus
from webhook.translation.options import Options

MANY = 1000
BAD, LAST = "name-0500", "name-0999"
Json = dict[str, Any]
BUDGETS = "poddisruptionbudgets"
PATHS = {BUDGETS: budgets.PATH}


def inventory(memory: int) -> Json:
    gpu = Gpu(GpuUuid("GPU-a"), 0, 0, "T4", MiB(memory))
    return {names.ANNOTATION_INVENTORY: gpus.dump((gpu,))}


def share(memory: int) -> Json:
    allocation = Allocation("n", {"main": (Share(GpuUuid("GPU-a"), MiB(memory), Percent(1)),)})
    request = PodRequest({"main": Request(1, MiB(memory), Percent(1))})
    return {
        names.ANNOTATION_ALLOCATION: allocations.dump(allocation),
        names.ANNOTATION_REQUEST: requests.dump(request),
    }


HUGE = '{"version":1,"gpus":[{"uuid":"GPU-a","memory":1e999}],"containers":{"main":[{"memory":1e999}]}}'


@dataclass
class Watch:
    """A part's own copy of one kind of objects."""

    kind: str
    sink: Sink[Any]
    good: Callable[[int], Json]
    """Annotations of a good object, or what a budget allows, by a number that must reach the copy."""
    poison: list[Callable[[Json], None]]
    number: Callable[[str], int | None]
    """The number in the copy; None where the object isn't in it."""


def _annotation(name: str) -> Callable[[Json], None]:
    return lambda item: item["metadata"]["annotations"].update({name: HUGE})


def _no_annotations(item: Json) -> None:
    item["metadata"]["annotations"] = ["odd"]


def _odd_spec(item: Json) -> None:
    item["spec"] = 7


def _agent_pods() -> Watch:
    cache = PodCache()

    def number(name: str) -> int | None:
        pod = next((pod for pod in cache.all() if pod.name == name), None)
        return None if pod is None else pod.allocation().containers["main"][0].memory

    def changed(pod: Pod) -> None:
        cache.observe(pod)

    sink = Sink(
        agent_pods.read,
        lambda listing: cache.replace(listing.items),
        changed,
        lambda ref: cache.forget(ref.uid),
    )
    return Watch("pods", sink, share, [_odd_spec], number)


def _scheduler_pods() -> Watch:
    cache = SchedulerCache(CapacityLedger())

    def number(name: str) -> int | None:
        found = [booking for _, booking in cache.ledger.bookings() if booking.pod == f"default/{name}"]
        return found[0].uses[GpuUuid("GPU-a")].memory if found else None

    def listed(listing: Listing[PodFacts]) -> None:
        cache.pods_listed(listing.items, {ref.uid for ref in listing.unreadable})

    sink = Sink(
        api_objects.pod,
        listed,
        cache.pod_changed,
        lambda ref: cache.pod_gone(ref.uid),
        unreadable=lambda _: None,
    )
    return Watch("pods", sink, share, [_annotation(names.ANNOTATION_ALLOCATION), _no_annotations, _odd_spec], number)


def _scheduler_nodes() -> Watch:
    cache = SchedulerCache(CapacityLedger())

    def number(name: str) -> int | None:
        node = cache.ledger.node(name)
        return node.gpus[0].gpu.memory if node is not None and node.gpus else None

    sink = Sink(
        api_objects.node,
        lambda listing: cache.nodes_listed(listing.items),
        cache.node_changed,
        lambda ref: cache.node_gone(ref.name),
    )
    return Watch("nodes", sink, inventory, [_annotation(names.ANNOTATION_INVENTORY), _no_annotations], number)


def _webhook_nodes() -> Watch:
    cache = WebhookCache(Options())
    known: dict[str, int] = {}

    def note(found: NodeGpus) -> None:
        name, kinds = found
        for kind in kinds:
            known[name] = kind.memory

    def changed(found: NodeGpus) -> None:
        cache.set_node(found)
        note(found)

    def listed(listing: Listing[NodeGpus]) -> None:
        cache.replace_nodes(listing.items)
        for found in listing.items:
            note(found)

    def gone(ref: Any) -> None:
        cache.remove_node(ref)
        known.pop(ref.name, None)

    sink = Sink(node_gpus, listed, changed, gone)
    return Watch("nodes", sink, inventory, [_annotation(names.ANNOTATION_INVENTORY), _no_annotations], known.get)


def _webhook_namespaces() -> Watch:
    cache = WebhookCache(Options())

    def number(name: str) -> int | None:
        return cache.options(name).rules.max_memory

    sink = Sink(
        namespace_rules,
        lambda listing: cache.replace_namespaces(listing.items),
        cache.set_namespace,
        cache.remove_namespace,
    )
    return Watch(
        "namespaces", sink, lambda number: {names.ANNOTATION_MAX_MEMORY: str(number)}, [_no_annotations], number
    )


def _scheduler_budgets() -> Watch:
    cache = BudgetCache()

    def number(name: str) -> int | None:
        return next((one.allowed for one in cache.of("default") if one.name == name), None)

    def odd_status(item: Json) -> None:
        item["status"]["disruptionsAllowed"] = "many"

    sink = Sink(budgets.load, lambda listing: cache.listed(listing.items), cache.changed, cache.gone)
    return Watch(BUDGETS, sink, lambda allowed: {"allowed": allowed}, [_odd_spec, odd_status], number)


WATCHES = {
    "agent-pods": _agent_pods,
    "scheduler-pods": _scheduler_pods,
    "scheduler-nodes": _scheduler_nodes,
    "scheduler-budgets": _scheduler_budgets,
    "webhook-nodes": _webhook_nodes,
    "webhook-namespaces": _webhook_namespaces,
}


def _become(healed: Json, item: Json) -> None:
    item.clear()
    item.update(healed)


async def add(api: ApiServer, kind: str, name: str, annotations: Json) -> None:
    if kind == "pods":
        await api.add_pod(name, annotations, nodeName="n")
    elif kind == "nodes":
        await api.add_node(name, annotations)
    elif kind == BUDGETS:
        await api.add_budget(name, {"app": name}, annotations["allowed"])
    else:
        await api.add_namespace(name, annotations)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def following(api: ApiServer, watch: Watch) -> AsyncIterator[Reflector[Any]]:
    async with library.ApiClient(library.Configuration(host=f"http://127.0.0.1:{api.port}")) as opened:
        one = Reflector(client.Client(opened, 30.0), Source(PATHS.get(watch.kind, f"/api/v1/{watch.kind}")), watch.sink)
        task = asyncio.create_task(one.run())
        try:
            yield one
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def lines(caplog: pytest.LogCaptureFixture) -> int:
    """How many lines say that something can't be read."""
    said = ("object can't be read", "node unreadable", "pod unreadable")
    return sum(record.getMessage() in said for record in caplog.records)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "watched"])
@pytest.mark.parametrize("name", WATCHES)
async def test_one_bad_object_among_many(
    api: ApiServer, name: str, listed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    watch = WATCHES[name]()
    prefix = "default/" if watch.kind in ("pods", BUDGETS) else ""
    for number in range(MANY):
        await add(api, watch.kind, f"name-{number:04d}", watch.good(100 + number))
    for poison in watch.poison:
        caplog.clear()
        good = json.dumps(api.objects[watch.kind][prefix + BAD])
        if listed:
            await api.change(watch.kind, prefix + BAD, poison)
        async with following(api, watch) as one:
            await asyncio.wait_for(one.synced.wait(), 60)
            if not listed:
                assert watch.number(BAD) == 600
                await api.change(watch.kind, prefix + BAD, poison)
            await until(lambda: lines(caplog) == 1, "it is said")
            assert watch.number("name-0000") == 100
            # The watch goes on, also past the same object again.
            await api.change(watch.kind, prefix + BAD, lambda item: item.update(again=1))
            await add(api, watch.kind, "later", watch.good(7))
            await until(lambda: watch.number("later") == 7, "an object that comes later")
            assert watch.number(LAST) == 1099
            assert lines(caplog) == 1, "it is said once"
            await api.change(watch.kind, prefix + BAD, functools.partial(_become, json.loads(good)))
            await until(lambda: watch.number(BAD) == 600, "it is back once it is well")
            await api.remove(watch.kind, prefix + "later")
