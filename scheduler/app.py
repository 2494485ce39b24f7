"""The wiring: ledger, reflectors, decisions and listeners, from the start of the process to a signal."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler import binding, budget_cache, cache, fit_cache, metrics, preemption, server, staleness_guard
from scheduler.growth import Growth
from scheduler.no_room import NoRoomEvents
from scheduler.other_plugins import OtherPlugins
from scheduler.settings import Settings
from scheduler.shrinking import Shrinking
from unigpu import api_objects, budgets, configured_dialects, ledger, logs, placement, shrinks
from unigpu.api_objects import NodeFacts, PodFacts
from unigpu.budgets import Budget
from unigpu_kube import client, objects, reflector
from unigpu_kube.client import Client, Json
from unigpu_kube.objects import Ref
from unigpu_service import http, loop, runtime
from unigpu_service.runtime import Supervisor

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises Malformed where the settings can't work, and a group of what its tasks raise.
    """
    async with (
        client.connect(
            settings.kubeconfig, context=settings.context, user_agent="unigpu-scheduler", deadline=settings.api_timeout
        ) as api,
        runtime.supervise() as supervisor,
        serve(settings, api, supervisor),
    ):
        await supervisor.stopped()


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports that are open."""

    verbs: int
    probes: int


class _FollowsNodes(Protocol):
    """Keeps something of each node besides the ledger."""

    def nodes_listed(self, nodes: Sequence[NodeFacts], /) -> None: ...
    def node_changed(self, facts: NodeFacts, /) -> None: ...
    def node_gone(self, name: str, /) -> None: ...


class _FollowsPods(Protocol):
    """Keeps something of each pod besides the ledger."""

    def pods_listed(self, pods: Sequence[PodFacts], /) -> None: ...
    def pod_changed(self, facts: PodFacts, /) -> None: ...
    def pod_gone(self, uid: str, /) -> None: ...


@contextlib.asynccontextmanager
async def serve(settings: Settings, api: Client, supervisor: Supervisor) -> AsyncIterator[Ports]:
    """Run the whole service while the block lasts, its tasks under the supervisor."""
    rules = placement.Rules(settings.shares_per_gpu, settings.gpu_policy)
    capacity = ledger.CapacityLedger()
    state = cache.ClusterCache(capacity)
    vendors = configured_dialects.resources(configured_dialects.load(settings.dialects))
    others = OtherPlugins(vendors)
    protecting = budget_cache.BudgetCache()
    ours = f"spec.schedulerName={settings.scheduler_name},{objects.RUNNING}"

    async def pods_of(node: str) -> Sequence[Json]:
        return await api.short_list(objects.PODS, {"fieldSelector": f"{ours},spec.nodeName={node}"})

    guard = staleness_guard.StalenessGuard(pods_of, state, time.monotonic)
    binder = binding.Binder(api, state, rules, guard, supervisor)

    def pods_listed(listing: reflector.Listing[PodFacts]) -> None:
        binder.recheck(state.pods_listed(listing.items, {ref.uid for ref in listing.unreadable}))
        for follower in pod_followers:
            follower.pods_listed(listing.items)

    def source(path: str, selector: str) -> reflector.Source:
        return reflector.Source(
            path,
            {"fieldSelector": selector} if selector else {},
            page=settings.page,
            watch_seconds=settings.watch_seconds,
            silence=settings.watch_silence,
        )

    tries_again = shrinks.tried_again(settings.kube_scheduler_version)
    shrinking = (
        Shrinking(
            *(api, capacity, rules, state.waiting, supervisor, vendors),
            tries_again=tries_again,
        )
        if settings.shrink_before_evicting
        else None
    )

    fits = fit_cache.FitCache(capacity, rules)
    no_room = NoRoomEvents(api, capacity, fits, rules, state.waiting, shrinking)
    growth = Growth(api) if tries_again else None
    pod_followers: list[_FollowsPods] = [no_room, *([growth] if growth is not None else [])]
    followers: list[_FollowsNodes] = [
        *(others, no_room),
        *([shrinking] if shrinking is not None else []),
        *([growth] if growth is not None else []),
    ]

    def nodes_listed(listing: reflector.Listing[NodeFacts]) -> None:
        state.nodes_listed(listing.items)
        for follower in followers:
            follower.nodes_listed(listing.items)

    def node_changed(facts: NodeFacts) -> None:
        state.node_changed(facts)
        for follower in followers:
            follower.node_changed(facts)

    def node_gone(ref: Ref) -> None:
        state.node_gone(ref.name)
        for follower in followers:
            follower.node_gone(ref.name)

    def pod_changed(facts: PodFacts) -> None:
        state.pod_changed(facts)
        for follower in pod_followers:
            follower.pod_changed(facts)

    def pod_gone(ref: Ref) -> None:
        state.pod_gone(ref.uid)
        for follower in pod_followers:
            follower.pod_gone(ref.uid)

    nodes = reflector.Reflector[NodeFacts](
        api,
        source(objects.NODES, ""),
        reflector.Sink(
            api_objects.node,
            nodes_listed,
            node_changed,
            node_gone,
        ),
    )
    pods = reflector.Reflector[PodFacts](
        api,
        source(objects.PODS, ours),
        reflector.Sink(
            api_objects.pod,
            pods_listed,
            pod_changed,
            gone=pod_gone,
            unreadable=lambda _: None,  # its containers may be using what was confirmed earlier
        ),
    )

    disruption = reflector.Reflector[Budget](
        api,
        source(budgets.PATH, ""),
        reflector.Sink(
            budgets.load, lambda listing: protecting.listed(listing.items), protecting.changed, protecting.gone
        ),
    )

    def unready() -> str | None:
        synced = nodes.synced.is_set() and pods.synced.is_set()
        return None if synced else "nodes and pods are not listed yet"

    async def settle() -> None:
        if await supervisor.first(nodes.synced, pods.synced):
            loop.keep()
            if shrinking is not None:
                await shrinking.resume()

    async def take_over(shrinking: Shrinking) -> None:
        """Go on with what an extender began whose kube-scheduler led until now. Never returns."""
        for known in (nodes.synced, pods.synced):
            await known.wait()
        while True:
            await guard.led.wait()
            guard.led.clear()
            await shrinking.resume()

    shown = metrics.Metrics(capacity, lambda: nodes.lists + pods.lists, settings.shares_per_gpu)
    answers = server.Server(
        capacity,
        fits,
        binder,
        guard,
        shown,
        unready,
        rules,
        settings.node_policy,
        others,
        state.waiting,
        preemption.Preemption(state, rules, protecting, vendors),
        shrinking,
        no_room,
    )
    async with (
        http.listen(answers.application(), settings.port, host=LOOPBACK) as port,
        http.listen(http.health(unready, shown.text), settings.metrics_port) as metrics_port,
    ):
        logs.event(logger, "serving", port=port, metrics_port=metrics_port)
        supervisor.start("nodes", nodes.run())
        supervisor.start("pods", pods.run())
        supervisor.start("budgets", disruption.run())
        supervisor.start("events on pods without room", no_room.run())
        supervisor.spawn("settle", settle())
        if shrinking is not None:
            supervisor.start("room that others began to make", take_over(shrinking))
        if growth is not None:
            supervisor.start("growth", growth.run(nodes.synced, pods.synced))
        yield Ports(port, metrics_port)
        logs.event(logger, "stopping")
