"""Wires the agent's parts together, and runs them until a signal."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path

from deviceplugin import health_server
from deviceplugin.allocation.allocator import Allocator
from deviceplugin.allocation.grant_collector import GrantCollector
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.spec_writer import SpecWriter
from deviceplugin.apiserver import ApiServer
from deviceplugin.kubelet import plugin
from deviceplugin.kubelet.owner_lookup import OwnerLookup
from deviceplugin.kubelet.plugin import Plugin
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.lending.lending_loop import LendingLoop
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.limits.limit_reports import LimitReports
from deviceplugin.limits.policy_writer import PolicyWriter
from deviceplugin.node import driver, libvgpu_install, node_status
from deviceplugin.node.gpu_watch import GpuWatch
from deviceplugin.node.inventory import Inventory
from deviceplugin.node.node_state import Node, NodeState
from deviceplugin.node.node_status_publisher import NodeStatusPublisher
from deviceplugin.pod_cache import PodCache
from deviceplugin.settings import Settings
from deviceplugin.store import files
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, gpus, logs

logger = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_TIDY = 5.0
_EARLIER = 3.0
"""Seconds to wait at start for the inventory that was published before: a GPU that is lost now is known by name only
from there."""


class Ended(errors.UnigpuError):
    """A task that must not end has ended."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UnigpuError, or an ExceptionGroup, where that isn't possible."""
    boot = _BOOT.read_text().strip()  # noqa: ASYNC240
    parts = driver.of(settings)
    specs = CdiStore(settings.cdi_dir)
    installed = libvgpu_install.install(settings.library, settings.libraries, specs.common())
    api = ApiServer(settings.node)
    await api.open(settings.kubeconfig)
    pod_resources = PodResources(settings.pod_resources)
    try:
        node = NodeState(Node(settings.node, boot))
        cache = PodCache()
        containers = ContainerStore(settings.containers)
        grants = GrantLedger(containers.load())
        lending = LendingLoop()

        def notify_lending() -> None:
            lending.observe(containers.of(*key) for key in grants.keys())  # noqa: SIM118

        policies = PolicyWriter(containers, grants, node, notify_lending)
        limits = LimitReconciler(cache, grants, node, policies, LimitReports(api, settings.node))
        writer = SpecWriter(specs, containers, parts, installed)
        collector = GrantCollector(api, cache, grants, containers, writer, notify_lending)
        owners = OwnerLookup(settings.checkpoint, pod_resources, api, cache, grants)
        allocator = Allocator(node, owners, cache, grants, containers, writer, limits, collector)

        async def labelled(labels: Mapping[str, str]) -> None:
            if node.set_labels(labels):
                limits.mark_all()

        publisher = NodeStatusPublisher(api, settings.republish_interval, labelled)
        kubelet = Plugin(settings.plugins, settings.kubelet_poll, allocator.allocated, allocator.prestart)

        async def gpus_changed(found: Inventory) -> None:
            node.set_gpus(found.gpus)
            publisher.observe(found)
            await kubelet.offer(plugin.slots(len(found.gpus), settings.shares_per_gpu))

        node_gpus = GpuWatch(settings, parts, await _earlier(api), gpus_changed)

        def unready() -> list[str]:
            reasons = {
                "NVML hasn't answered yet": not node_gpus.answered,
                "not registered with the kubelet": bool(node_gpus.known.gpus) and not kubelet.registered,
                "the node's inventory isn't published": not publisher.published,
            }
            folders = (files.unwritable(folder) for folder in (settings.cdi_dir, settings.containers))
            return [*(reason for reason, holds in reasons.items() if holds), *filter(None, folders)]

        logs.event(logger, "started", node=settings.node, grants=len(grants), library=installed.library.name)
        runner = await health_server.start(settings.health_port, unready)
        try:
            await _until_signal(
                {
                    "GPUs": node_gpus.watch(),
                    "kubelet": kubelet.serve(),
                    "pods": collector.follow_pods(),
                    "limits": limits.work(),
                    "lending": lending.lend(),
                    "node": publisher.follow_node(),
                    "node status": publisher.publish(),
                    "tidying": collector.tidy(_TIDY),
                }
            )
        finally:
            await runner.cleanup()
    finally:
        await pod_resources.close()
        await api.close()


async def _earlier(api: ApiServer) -> Inventory:
    """Return the GPUs as an earlier agent published them."""
    with contextlib.suppress(errors.UnigpuError, TimeoutError):
        async with asyncio.timeout(_EARLIER):
            text = node_status.published(await api.read_node())
        return Inventory(gpus.load(text)) if text is not None else Inventory()
    return Inventory()


async def _until_signal(eternal: dict[str, Coroutine[object, object, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_guarded(name, work), name=name) for name, work in eternal.items()]
        await stop.wait()
        logs.event(logger, "stopping")
        for task in tasks:
            task.cancel()


async def _guarded(name: str, work: Coroutine[object, object, None]) -> None:
    await work
    raise Ended(f"{name}: a task that must not end has ended")
