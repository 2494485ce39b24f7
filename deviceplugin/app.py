"""Wires the agent's parts together, and runs them until a signal."""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

from deviceplugin.allocation.allocator import Allocator
from deviceplugin.allocation.grant_collector import GrantCollector
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.grant_repair import GrantRepair
from deviceplugin.allocation.spec_writer import SpecWriter
from deviceplugin.kubelet import plugin
from deviceplugin.kubelet.owner_lookup import OwnerLookup
from deviceplugin.kubelet.plugin import Plugin
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.lending.lending_loop import LendingLoop
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.limits.limit_reports import LimitReports
from deviceplugin.limits.policy_writer import PolicyWriter
from deviceplugin.node import driver, libvgpu_install
from deviceplugin.node.driver import Driver
from deviceplugin.node.gpu_watch import GpuWatch
from deviceplugin.node.grant_watch import GrantWatch
from deviceplugin.node.health import Inventory
from deviceplugin.node.incident_reports import IncidentReports
from deviceplugin.node.libvgpu_install import InstalledLibvgpu
from deviceplugin.node.node_state import Node, NodeState
from deviceplugin.node.node_status_publisher import NodeStatusPublisher, published_inventory
from deviceplugin.node.offenders import Offenders
from deviceplugin.node.process_table import ProcessTable
from deviceplugin.node.report_writer import ReportWriter
from deviceplugin.node_api import DEADLINE, NodeApi
from deviceplugin.pod_cache import PodCache
from deviceplugin.settings import Settings
from deviceplugin.store import files
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore
from unigpu import logs
from unigpu.units import MiB
from unigpu_kube import client
from unigpu_service import http
from unigpu_service.runtime import Supervisor, supervise

logger = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROC = Path("/proc")
_TIDY = 5.0


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UnigpuError, or an ExceptionGroup, where that isn't possible."""
    parts = driver.of(settings)
    specs = CdiStore(settings.cdi_dir)
    installed = libvgpu_install.install(settings.library, settings.libraries, specs.common())
    async with (
        client.connect(settings.kubeconfig, user_agent="unigpu-node-agent", deadline=DEADLINE) as connection,
        contextlib.aclosing(PodResources(settings.pod_resources)) as pod_resources,
    ):
        api = NodeApi(connection, settings.node)
        agent = Agent(settings, api, pod_resources, parts, specs, installed, await published_inventory(api))
        async with supervise() as supervisor, http.listen(http.health(agent.unready), settings.health_port):
            agent.start(supervisor)
            await supervisor.stopped()
            logs.event(logger, "stopping")


class Agent:
    """The agent's parts, wired together."""

    def __init__(
        self,
        settings: Settings,
        api: NodeApi,
        pod_resources: PodResources,
        parts: Driver,
        specs: CdiStore,
        installed: InstalledLibvgpu,
        earlier: Inventory,
    ) -> None:
        self._settings = settings
        boot = _BOOT.read_text().strip()
        self._node = NodeState(Node(settings.node, boot))
        self._containers = ContainerStore(settings.containers)
        self._grants = GrantLedger(self._containers.load())
        self._lending = LendingLoop()
        cache = PodCache()
        policies = PolicyWriter(self._containers, self._grants, self._node, self._notify_lending)
        reports = LimitReports(api, settings.node)
        self._limits = LimitReconciler(cache, self._grants, self._node, policies, reports)
        writer = SpecWriter(specs, self._containers, parts, installed)
        self._collector = GrantCollector(api, cache, self._grants, self._containers, writer, self._notify_lending)
        owners = OwnerLookup(settings.checkpoint, pod_resources, api, cache, self._grants)
        allocator = Allocator(
            self._node, owners, cache, self._grants, self._containers, writer, self._limits, self._collector
        )
        self._repair = GrantRepair(self._node, owners, cache, self._grants, self._containers, self._notify_lending)
        self._kubelet = Plugin(settings.plugins, settings.kubelet_poll, allocator.allocated, allocator.prestart)
        self._publisher = NodeStatusPublisher(api, settings.republish_interval, self._labels_seen)
        self._report = ReportWriter(settings.state_dir, boot)
        self._incidents = IncidentReports(api, self._node, self._grants, cache)
        self._found = earlier
        self._watch = self._grant_watch(cache)
        self._gpus = GpuWatch(settings, boot, parts, earlier, self._gpus_changed, self._watch.observe)
        logs.event(logger, "started", node=settings.node, grants=len(self._grants), library=installed.library.name)

    def _grant_watch(self, cache: PodCache) -> GrantWatch:
        table = ProcessTable(self._settings.proc_root or _PROC)
        watch = GrantWatch(
            table, self._node, self._grants, cache, self._containers, self._incidents, self._findings_changed
        )
        if self._settings.proc_root is not None:
            watch.restore(self._report.earlier())
            if self._settings.on_breach == "end":
                watch.offenders = Offenders(table, watch.container_of, self._settings.breach_grace)
        return watch

    def start(self, supervisor: Supervisor) -> None:
        """Start every task of the agent; none of them ends by itself."""
        supervisor.start("GPUs", self._gpus.watch())
        supervisor.start("kubelet", self._kubelet.serve())
        supervisor.start("pods", self._collector.reflector().run())
        supervisor.start("limits", self._limits.work())
        supervisor.start("lending", self._lending.lend())
        supervisor.start("node", self._publisher.reflector().run())
        supervisor.start("node status", self._publisher.publish())
        supervisor.start("incidents", self._incidents.run())
        supervisor.start("report", self._report.renew())
        supervisor.start("tidying", self._collector.tidy(_TIDY))
        supervisor.start("grant repair", self._repair.run(_TIDY))

    def unready(self) -> str:
        """Return what keeps the agent from serving containers, a reason a line; empty where it is ready."""
        reasons = {
            "NVML hasn't answered yet": not self._gpus.answered,
            "the agent isn't registered with the kubelet": bool(self._gpus.known.gpus) and not self._kubelet.registered,
            "the node object doesn't show the GPUs yet": not self._publisher.published,
        }
        folders = (files.unwritable(folder) for folder in (self._settings.cdi_dir, self._settings.containers))
        return "\n".join([*(reason for reason, holds in reasons.items() if holds), *filter(None, folders)])

    def _notify_lending(self) -> None:
        self._lending.observe(self._containers.of(*key) for key in self._grants.keys())  # noqa: SIM118

    def _labels_seen(self, labels: Mapping[str, str]) -> None:
        if self._node.set_labels(labels):
            self._limits.mark_all()

    async def _gpus_changed(self, found: Inventory) -> None:
        self._found, before = found, self._found
        self._publish()
        self._incidents.health({gpu.uuid: gpu for gpu in before.gpus}, found.gpus)
        await self._kubelet.offer(plugin.slots(len(found.gpus), self._settings.shares_per_gpu))

    def _findings_changed(self) -> None:
        if self._gpus.answered:
            self._publish()

    def _publish(self) -> None:
        """Make everybody see the GPUs with the memory on them that nobody was granted."""
        foreign = self._watch.foreign
        gpus = tuple(dataclasses.replace(gpu, foreign=foreign.get(gpu.uuid, MiB(0))) for gpu in self._found.gpus)
        self._node.set_gpus(gpus)
        self._publisher.observe(dataclasses.replace(self._found, gpus=gpus))
        self._report.write(gpus, self._watch.entries)
