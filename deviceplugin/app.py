"""The wiring: who tells whom, and what must never end."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path

from deviceplugin import health_server
from deviceplugin.agent import Agent
from deviceplugin.allocation.allocate import Node
from deviceplugin.apiserver import ApiServer
from deviceplugin.kubelet import plugin
from deviceplugin.kubelet.plugin import Plugin
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.lending.lending_loop import LendingLoop
from deviceplugin.node import driver, libvgpu_install, node_status
from deviceplugin.node.gpu_watch import GpuWatch
from deviceplugin.node.inventory import Inventory
from deviceplugin.node.node_status_publisher import NodeStatusPublisher
from deviceplugin.settings import Settings
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, gpus, logs

logger = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_TIDY = 5.0
_EARLIER = 3.0
"""Seconds to wait at start for what was published before; without it, a GPU that is lost now isn't known by name."""


class Ended(errors.UnigpuError):
    """A task that must run for ever ended."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UnigpuError, or an ExceptionGroup, where that isn't possible."""
    boot = _BOOT.read_text().strip()  # noqa: ASYNC240
    parts = driver.of(settings)
    specs = CdiStore(settings.cdi_dir)
    installed = libvgpu_install.install(settings.library, settings.libraries, specs.common())
    api = ApiServer(settings.node)
    await api.open(settings.kubeconfig)
    pod_resources = PodResources(settings.pod_resources)
    lending = LendingLoop()
    try:
        agent = Agent(
            Node(settings.node, boot),
            api,
            pod_resources,
            settings.checkpoint,
            ContainerStore(settings.containers),
            specs,
            parts,
            installed,
            lending,
        )
        publisher = NodeStatusPublisher(api, settings.republish_interval, agent.see_labels)
        kubelet = Plugin(settings.plugins, settings.kubelet_poll, agent.allocated, agent.prestart)

        async def changed(found: Inventory) -> None:
            agent.see_gpus(found.gpus)
            publisher.see(found)
            await kubelet.offer(plugin.slots(len(found.gpus), settings.shares_per_gpu))

        node_gpus = GpuWatch(settings, parts, await _earlier(api), changed)

        def missing() -> list[str]:
            lacks = {
                "NVML hasn't answered yet": not node_gpus.seen,
                "not registered with the kubelet": bool(node_gpus.known.gpus) and not kubelet.registered,
                "the node's inventory isn't published": not publisher.published,
            }
            return [lack for lack, present in lacks.items() if present]

        logs.event(logger, "started", node=settings.node, grants=len(agent.kept), library=installed.library.name)
        runner = await health_server.start(settings.health_port, missing)
        try:
            await _until_signal(
                {
                    "node_gpus": node_gpus.watch(),
                    "kubelet": kubelet.serve(),
                    "pods": agent.follow_pods(),
                    "limits": agent.limits.work(),
                    "lending": lending.lend(),
                    "node": publisher.follow_node(),
                    "publication": publisher.publish(),
                    "tidying": agent.tidy(_TIDY),
                }
            )
        finally:
            await runner.cleanup()
    finally:
        await pod_resources.close()
        await api.close()


async def _earlier(api: ApiServer) -> Inventory:
    """The GPUs as an earlier agent published them."""
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
    raise Ended(f"{name}: a task that must run for ever has ended")
