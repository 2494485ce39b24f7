"""The wiring: books, reflectors, decisions, servers; runs until told to stop or until a part of it fails."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass

from aiohttp import web

from scheduler import binding, cluster, freshness, kube, metrics, objects, reflector, service, verdicts
from scheduler.objects import NodeFacts, PodFacts
from scheduler.settings import Settings
from unigpu import errors, ledger, logs, placement

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_GRACE = 5.0
"""Seconds for requests under way when the process is told to stop."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises a group of Malformed where the settings can't work, or of what its tasks raise.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with kube.connect(settings.kubeconfig, settings.api_timeout) as api, asyncio.TaskGroup() as tasks:
            async with serve(settings, api, tasks):
                await stop.wait()
            raise _Stopped
    except* _Stopped:
        pass


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens."""

    verbs: int
    probes: int


class _Stopped(Exception):
    """Ends the tasks; told to stop."""


@contextlib.asynccontextmanager
async def serve(settings: Settings, api: kube.Kube, tasks: asyncio.TaskGroup) -> AsyncIterator[Ports]:
    """The whole service, its eternal tasks in `tasks`, until the context ends."""
    rules = placement.Rules(settings.shares_per_gpu, settings.gpu_policy)
    capacity = ledger.CapacityLedger()
    state = cluster.Cluster(capacity)
    ours = f"spec.schedulerName={settings.scheduler_name},status.phase!=Succeeded,status.phase!=Failed"

    async def of_node(node: str) -> Sequence[objects.Json]:
        page = await api.page(kube.PODS, f"{ours},spec.nodeName={node}")
        return page.items

    fresh = freshness.Freshness(of_node, state, time.monotonic)
    binder = binding.Binder(api, state, rules, fresh, tasks)

    def pods_listed(pods: Sequence[PodFacts]) -> None:
        binder.recheck(state.pods_listed(pods))

    def source(path: str, selector: str) -> reflector.Source:
        return reflector.Source(path, selector, settings.page, settings.watch_seconds, settings.watch_silence)

    nodes = reflector.Reflector[NodeFacts](
        api,
        source(kube.NODES, ""),
        reflector.Sink(objects.node, state.nodes_listed, state.node_changed, state.node_gone),
    )
    pods = reflector.Reflector[PodFacts](
        api,
        source(kube.PODS, ours),
        reflector.Sink(objects.pod, pods_listed, state.pod_changed, state.pod_gone),
    )
    answers = service.Service(
        capacity,
        verdicts.Verdicts(capacity, rules),
        binder,
        fresh,
        metrics.Metrics(capacity, lambda: nodes.lists + pods.lists),
        lambda: nodes.synced.is_set() and pods.synced.is_set(),
        rules,
        settings.node_policy,
    )
    async with (
        _listen(answers.verbs(), LOOPBACK, settings.port) as port,
        _listen(answers.probes(), "", settings.metrics_port) as metrics_port,
    ):
        logs.event(logger, "serving", port=port, metrics_port=metrics_port)
        tasks.create_task(_eternal("nodes", nodes.run()), name="nodes")
        tasks.create_task(_eternal("pods", pods.run()), name="pods")
        yield Ports(port, metrics_port)
        logs.event(logger, "stopping")


async def _eternal(name: str, work: Awaitable[None]) -> None:
    """A task that ends is as wrong as one that fails."""
    await work
    raise RuntimeError(f"the task that follows {name} has ended")


@contextlib.asynccontextmanager
async def _listen(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host or None, port)
        try:
            await site.start()
        except OSError as error:
            raise errors.Malformed(f"port {port} can't be listened on: {error.strerror}; choose another one") from error
        # A free port is another one for each family of addresses; one of IPv4 has two parts.
        yield int(min(runner.addresses, key=len)[1])
    finally:
        await runner.cleanup()
