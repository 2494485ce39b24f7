"""Wires the agent's parts together, and runs them until a signal."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from deviceplugin.allocation.allocator import Allocator
from deviceplugin.allocation.grant_collector import GrantCollector
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.grant_repair import GrantRepair
from deviceplugin.allocation.spec_writer import SpecWriter
from deviceplugin.allocation.usage_guard import UsageGuard
from deviceplugin.kubelet import plugin
from deviceplugin.kubelet.owner_lookup import OwnerLookup
from deviceplugin.kubelet.plugin import Plugin
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.lending.lending_loop import LendingLoop
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.limits.limit_reports import LimitReports
from deviceplugin.limits.lowering_watch import LoweringWatch
from deviceplugin.limits.policy_writer import PolicyWriter
from deviceplugin.limits.wish_watch import WishWatch
from deviceplugin.metrics import Metrics
from deviceplugin.node import control_groups, driver, driver_wall, libvgpu_install, node_status
from deviceplugin.node.control_groups import ControlGroups
from deviceplugin.node.driver import Driver
from deviceplugin.node.driver_wall import DriverWall
from deviceplugin.node.gpu_watch import GpuWatch
from deviceplugin.node.grant_watch import GrantWatch
from deviceplugin.node.health import Inventory
from deviceplugin.node.incident_reports import IncidentReports
from deviceplugin.node.libvgpu_install import InstalledLibvgpu
from deviceplugin.node.lock_owners import LockOwners
from deviceplugin.node.node_state import Node, NodeState
from deviceplugin.node.node_status import VendorCapacity
from deviceplugin.node.node_status_publisher import NodeStatusPublisher, node_at_start, published_inventory
from deviceplugin.node.offenders import Offenders
from deviceplugin.node.pod_events import PodEvents
from deviceplugin.node.process_table import ProcessTable
from deviceplugin.node.report_writer import ReportWriter
from deviceplugin.node.runtime_check import RuntimeCheck
from deviceplugin.node.telemetry_writer import TelemetryWriter
from deviceplugin.node_api import DEADLINE, NodeApi
from deviceplugin.pod_cache import PodCache
from deviceplugin.settings import Settings
from deviceplugin.store import files, selinux
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore
from unigpu import configured_dialects, logs, vendor_resources
from unigpu.gpus import Gpu
from unigpu.lowering import Freed, Keep
from unigpu.units import MIB_PER_GIB, MiB
from unigpu.walls import Wall, Walls
from unigpu_kube import client
from unigpu_kube.client import Json
from unigpu_node.folder_watch import FolderWatch
from unigpu_service import descriptors, http
from unigpu_service.runtime import Supervisor, supervise

logger = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROC = Path("/proc")
_TIDY = 5.0
_TOGETHER = 0.02
"""Seconds for which changes of containers' files are collected."""
_AWAY = 3
"""Requests in a row that may fail before the agent isn't ready: an API server that restarts is away for so long."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UnigpuError, or an ExceptionGroup, where that isn't possible."""
    descriptors.allow_most()  # of each container some files stay open
    parts = driver.of(settings)
    specs = CdiStore(settings.cdi_dir)
    installed = libvgpu_install.install(settings.library, settings.libraries, specs.common())
    unlabelled = selinux.label((settings.state_dir,), settings.selinux_label)
    if unlabelled:
        logs.event(logger, "files not labelled for SELinux", logging.ERROR, reason=unlabelled)
    async with (
        client.connect(settings.kubeconfig, user_agent="unigpu-node-agent", deadline=DEADLINE) as connection,
        contextlib.aclosing(PodResources(settings.pod_resources)) as pod_resources,
    ):
        api = NodeApi(connection, settings.node)
        agent = Agent(settings, api, pod_resources, parts, specs, installed, await node_at_start(api), unlabelled)
        health = http.health(agent.unready, agent.metrics.text)
        async with supervise() as supervisor, http.listen(health, settings.health_port):
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
        node: Json,
        unlabelled: str = "",
    ) -> None:
        """`node`: the node object as it is now; empty where nobody answers. `unlabelled`: why containers may not read
        the agent's files."""
        self._settings = settings
        self._parts = parts
        self._unlabelled = unlabelled
        earlier = published_inventory(node)
        self._runtime = RuntimeCheck(None if settings.simulator_dir is not None else settings.host_root)
        self._runtime.runtime = node_status.runtime(node)
        boot = _BOOT.read_text().strip()
        self._node = NodeState(Node(settings.node, boot))
        self._containers = ContainerStore(settings.containers)
        self._grants = GrantLedger(self._containers.load())
        self.metrics = Metrics(self.unready, lambda: len(self._grants))
        self._lending = LendingLoop()
        self._notified = False
        """Whether those who keep containers' files open are about to be told that some were written."""
        cache = PodCache()
        self._policies = PolicyWriter(self._containers, self._grants, self._node, self._notify_lending)
        reports = LimitReports(api, settings.node, self.metrics.count)
        self._limits = LimitReconciler(cache, self._grants, self._node, self._policies, reports)
        writer = SpecWriter(specs, self._containers, parts, installed)
        self._wishes = WishWatch(
            *(api, cache, self._grants, self._node, self._containers, self._limits),
            raises=settings.limits_from_container == "within-free",
        )
        seen = LockOwners(ProcessTable(settings.proc_root), self._containers) if settings.proc_root else None
        self._collector = GrantCollector(
            api,
            cache,
            self._grants,
            self._containers,
            writer,
            self._notify_lending,
            runs=seen.runs if seen is not None else None,
        )
        self._pods = self._collector.reflector()
        self._resources = configured_dialects.resources(configured_dialects.load(settings.dialects))
        owners = OwnerLookup(settings.checkpoint, pod_resources, api, cache, self._grants, self._resources)
        self._owners = owners
        self._incidents = IncidentReports(api, self._node, self._grants, cache)
        self._pod_events = PodEvents(self._incidents, cache, self._grants, self._node, self._containers)
        self._guard = UsageGuard(self._containers, self._grants, self._pod_events.cut_back, self.metrics.count_cut)
        self._wall = self._driver_wall(parts, cache)
        allocator = Allocator(
            *(self._node, owners, cache, self._grants, self._containers, writer, self._limits, self._collector),
            assigned=self._pod_events.assigned,
            prepare_wall=self._wall.prepare,
        )
        self._repair = GrantRepair(self._node, owners, cache, self._grants, self._containers, self._notify_lending)
        prestart = self.metrics.timed(allocator.prestart)
        self._kubelet = Plugin(settings.plugins, settings.kubelet_poll, allocator.allocated, prestart)
        self._publisher = NodeStatusPublisher(api, settings.republish_interval, self._node_seen, self._vendor_capacity)
        self._lowering = LoweringWatch(
            *(api, cache, self._grants, self._node, self._containers, self._publisher.observe_lowering),
            offer=Keep(settings.shrink_reserve, settings.shrink_least_cores)
            if settings.shrink_before_evicting
            else None,
            pause=settings.shrink_pause,
        )
        self._report = ReportWriter(settings.state_dir, boot)
        if not node:
            # The API server didn't answer. Faults that need a reset of the GPU last longer than this agent.
            earlier = Inventory(self._report.earlier().gpus)
        self._found = earlier
        self._watch = self._grant_watch(cache)
        self._gpus = GpuWatch(
            *(settings, boot, parts, earlier, self._gpus_changed, self._watch.observe),
            telemetry_seen=TelemetryWriter(settings.state_dir, settings.probe_interval).write,
            unusable=lambda: parts.problem() or self._runtime.problem() or self._unlabelled,
        )
        logs.event(logger, "started", node=settings.node, grants=len(self._grants), library=installed.library.name)

    def _grant_watch(self, cache: PodCache) -> GrantWatch:
        table = ProcessTable(self._settings.proc_root or _PROC)
        watch = GrantWatch(
            table, self._node, self._grants, cache, self._containers, self._incidents, self._findings_changed
        )
        if self._settings.proc_root is not None:
            watch.restore(self._report.earlier().findings)
            if self._settings.on_breach == "end":
                watch.offenders = Offenders(table, watch.container_of, self._settings.breach_grace)
        return watch

    def _driver_wall(self, parts: Driver, cache: PodCache) -> DriverWall:
        root = self._settings.cgroup_root
        found = control_groups.hierarchy(root, stand_in=isinstance(parts, driver.Simulated)) if root else None
        groups = ControlGroups(found, watch=FolderWatch()) if found is not None else None
        why_not = driver_wall.why_not(root)
        return DriverWall(groups, why_not, parts, self._node, self._grants, cache, self._findings_changed)

    def start(self, supervisor: Supervisor) -> None:
        """Start every task of the agent; none of them ends by itself."""
        supervisor.start("GPUs", self._gpus.watch())
        supervisor.start("kubelet", self._kubelet.serve())
        supervisor.start("pods", self._pods.run())
        supervisor.start("limits", self._limits.work())
        supervisor.start("wishes", self._wishes.work())
        supervisor.start("lowering", self._lowering.work(self._pods.synced))
        supervisor.start("lending", self._lending.lend())
        supervisor.start("node", self._publisher.reflector().run())
        supervisor.start("node status", self._publisher.publish())
        supervisor.start("pod events", self._pod_events.run())
        supervisor.start("driver's limits", self._wall.run())
        supervisor.start("incidents", self._incidents.run())
        supervisor.start("report", self._report.renew())
        supervisor.start("tidying", self._collector.tidy(_TIDY))
        supervisor.start("usage files", self._guard.run(_TIDY))
        supervisor.start("grant repair", self._repair.run(_TIDY))

    def unready(self) -> str:
        """Return what keeps the agent from serving containers, a reason a line; empty where it is ready.

        On a node without GPUs there is nothing to serve, and nothing to wait for: an installation on all nodes of a
        cluster would never be complete.
        """
        idle = not self._gpus.answered and not self._gpus.known.gpus and self._parts.needless()
        reasons = {
            "NVML hasn't answered yet": not self._gpus.answered and not idle,
            "the agent isn't registered with the kubelet": bool(self._gpus.known.gpus) and not self._kubelet.registered,
            "the node object doesn't show the GPUs yet": not self._publisher.published and not idle,
            "the API server doesn't answer: limits don't change, and only containers that ran here before start": (
                self._pods.away > _AWAY
            ),
        }
        folders = (files.unwritable(folder) for folder in (self._settings.cdi_dir, self._settings.containers))
        return "\n".join([*(reason for reason, holds in reasons.items() if holds), *filter(None, folders)])

    def _notify_lending(self) -> None:
        """Have everybody who keeps containers' files open look at them again: soon, for a thousand may follow."""
        if not self._notified:
            self._notified = True
            asyncio.get_running_loop().call_later(_TOGETHER, self._files_written)

    def _files_written(self) -> None:
        self._notified = False
        self._guard.wake()
        self._lending.observe(self._containers.of(*key) for key in self._grants.keys())  # noqa: SIM118
        for reader in (self._wishes, self._pod_events, self._policies):
            reader.files_written()

    def _vendor_capacity(self, found: Sequence[Gpu], freed: Freed) -> VendorCapacity:
        registered = self._owners.registered()
        if registered is None:
            return VendorCapacity()
        wanted: dict[str, int] = {}
        if self._settings.publish_vendor_resources:
            kept = {
                name: kind
                for name, kind in self._resources.items()
                if name != vendor_resources.NVIDIA_GPU or self._settings.bare_nvidia_gpu == "whole"
            }
            choices = vendor_resources.Choices(
                MiB(1 if self._settings.aliyun_unit == "MiB" else MIB_PER_GIB),
                self._settings.volcano_memory_factor,
                self._settings.vgpu_manager_memory_factor,
            )
            wanted = vendor_resources.capacity(found, kept, self._settings.shares_per_gpu, choices, freed)
        return VendorCapacity(wanted, self._resources, registered)

    def _node_seen(self, node: Json) -> None:
        self._runtime.runtime = node_status.runtime(node)
        if self._node.set_labels(node_status.labels(node)):
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
        self._lowering.gpus_changed()
        walls = self._walls()
        self._publisher.observe(dataclasses.replace(self._found, gpus=gpus), walls)
        self._report.write(gpus, self._watch.entries, walls)

    def _walls(self) -> Walls:
        missing = {Wall.DRIVER: self._wall.missing} if self._wall.missing else {}
        if self._settings.proc_root is None:
            missing[Wall.COMPARISON] = "the node agent doesn't see the node's processes: it has no --proc-root"
        return Walls(missing)
