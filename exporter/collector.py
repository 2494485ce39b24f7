"""Make the page: everything known at the moment of a scrape. Only what was read and hasn't changed is kept."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter import exposition, gpu_totals
from exporter.agent_files import AgentFile
from exporter.container import Container
from exporter.dcgm import DcgmNames, Share
from exporter.folders import Folders
from exporter.gpu_totals import GrantedGpu
from exporter.heads import Heads
from unigpu import breaches, fit, grants, names
from unigpu.node_report import Report
from unigpu.telemetry import Telemetry
from unigpu.units import BYTES_PER_MIB, Bytes, GpuUuid
from unigpu.walls import Wall, Walls
from unigpu_service import http

Granted = Mapping[GpuUuid, GrantedGpu]


class MetricsPage:
    """Collects from the folders and the node agent's files."""

    def __init__(
        self,
        folders: Folders,
        driver: AgentFile[Telemetry],
        report: AgentFile[Report],
        node: str,
        clock: Callable[[], float] = time.perf_counter,
        dcgm: DcgmNames | None = None,
    ) -> None:
        """`dcgm`: also say what it says, in dcgm-exporter's names."""
        self._dcgm = dcgm
        self._folders, self._driver, self._report, self._node, self._clock = folders, driver, report, node, clock
        self._containers: list[Container] = []
        self._heads = Heads()
        self._steady: Sequence[bytes] = ()
        self._changed = True
        """Whether they are no longer those of what was read; it stays so until a page is made."""
        self._walls: Walls | None = None
        """By the node agent's last report; None: it doesn't say."""
        self._moving = Moving()
        self._granted: Granted = {}
        self._sizes: dict[GpuUuid, Bytes] = {}
        """Memory of each GPU as the driver last said, which a GPU keeps."""

    def close(self) -> None:
        """Let files go that are mapped."""
        self._heads.close()

    def collect(self) -> list[bytes]:
        """Return the page in pieces. Raises OSError where the containers' root can't be listed."""
        began = self._clock()
        telemetry = self._driver.read()
        if telemetry is not None:
            self._sizes |= {gpu.uuid: gpu.total for gpu in telemetry.gpus}
        if self._folders.refresh():
            self._changed = True
            self._containers = self._folders.containers()
            self._heads.keep(self._containers)
        self._changed |= self._heads.refresh(self._containers, time.monotonic_ns(), self._sizes)
        report = self._report.read() or Report()
        if self._changed or report.walls != self._walls:
            self._walls = report.walls
            self._steady = tuple(http.blocks(self._steady_lines()))
            self._granted = gpu_totals.granted(container.grant for container in self._containers)
            self._changed = False
        self._moving.take([(*container.used, container.current) for container in self._containers])
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Findings(self._node, self._granted, report))
        registry.register(_Gpus(self._node, self._granted, telemetry, report, self._clock() - began))
        pieces = [generate_latest(registry), *self._moving.pieces(), *self._steady]
        if self._dcgm is not None:
            pieces.append(self._dcgm.lines(self._shares(), telemetry, began))
        return pieces

    def _shares(self) -> Iterator[Share]:
        for container in self._containers:
            # Without a readable usage file nothing is known of its use.
            for place, (share, taken) in enumerate(zip(container.grant.shares, container.taken, strict=False)):
                yield Share(container.grant, share.gpu, container.limit(place), taken)

    def _steady_lines(self) -> Sequence[bytes]:
        """Lines that stay as they are until a folder comes or goes, or a limit changes."""
        granted = [container.granted for container in self._containers]
        return [
            exposition.LIMIT.head,
            *[lines.limit for lines in granted],
            exposition.CORES.head,
            *[lines.cores for lines in granted],
            exposition.CEILING.head,
            *[lines.ceiling for lines in granted],
            exposition.INFO.head,
            *[lines.info for lines in granted],
            *self._wall_lines(),
            exposition.UNREADABLE.head,
            *[exposition.unreadable(self._node, *key, grants.GRANT_FILE) for key in self._folders.broken],
            *[
                exposition.unreadable(self._node, container.grant.pod_uid, container.grant.container, file)
                for container in self._containers
                for file in container.unreadable
            ],
        ]

    def _wall_lines(self) -> list[bytes]:
        """Lines of the walls that hold each container; none without a word of the agent."""
        if self._walls is None:
            return []
        standing = self._walls.standing
        found = (
            exposition.walls(container.grant, self._node, standing, held=container.held)
            for container in self._containers
        )
        return [exposition.WALL.head, *found]


class Moving:
    """Lines of what containers use. Those of a few containers are put together again only where one of them changed."""

    def __init__(self) -> None:
        self._rows: list[tuple[bytes, ...]] = []
        self._groups: list[list[bytes]] = []
        """Of each group of containers, its lines of each metric."""

    def take(self, rows: list[tuple[bytes, ...]]) -> None:
        """Bring the lines up to date. `rows`: of each container, its lines of each metric."""
        before, self._rows = self._rows, rows
        if len(before) != len(rows):
            before, self._groups = [], [[b""] * len(_MOVING) for _ in range(0, len(rows), _GROUP)]
        for number, group in enumerate(self._groups):
            now, then = (some[number * _GROUP : (number + 1) * _GROUP] for some in (rows, before))
            if now == then:
                continue
            for column in range(len(_MOVING)):
                cells = [row[column] for row in now]
                if not then or cells != [row[column] for row in then]:
                    group[column] = b"".join(cells)

    def pieces(self) -> Iterator[bytes]:
        """Yield the lines of one metric after the other."""
        for column, family in enumerate(_MOVING):
            yield family.head
            for group in self._groups:
                yield group[column]


_GROUP = 32
"""Containers whose lines are put together. What a page is made of stays small, so that it finds its place in memory
that is there: fresh pages for a megabyte cost more than what is written to them."""
_MOVING = (*exposition.MOVING, exposition.CURRENT)


class _Gpus(Collector):
    """GPUs, and the exporter itself."""

    def __init__(
        self, node: str, granted: Granted, telemetry: Telemetry | None, report: Report, seconds: float
    ) -> None:
        self._node, self._granted, self._telemetry, self._seconds = node, granted, telemetry, seconds
        self._report = report

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield one sample a GPU and metric; what the driver doesn't say is left out rather than 0."""
        read = {gpu.uuid: gpu for gpu in self._telemetry.gpus} if self._telemetry is not None else {}
        reported = {gpu.uuid: gpu for gpu in self._report.gpus}
        total = _per_gpu(names.METRIC_GPU_MEMORY_TOTAL, "Memory of the GPU.")
        used = _per_gpu(names.METRIC_GPU_MEMORY_USED, "Memory of the GPU that is in use, as the driver reports it.")
        utilisation = _per_gpu(names.METRIC_GPU_UTILISATION, "Part of the time in which the GPU worked, 0 to 1.")
        temperature = _per_gpu(names.METRIC_GPU_TEMPERATURE, "Temperature of the GPU.")
        power = _per_gpu(names.METRIC_GPU_POWER, "Power that the GPU draws.")
        clocks = _per_gpu(
            names.METRIC_GPU_CLOCK, "Frequency of the GPU's clock of streaming multiprocessors or memory.", _CLOCK
        )
        healthy = _per_gpu(names.METRIC_GPU_HEALTHY, "Whether the GPU is healthy, as the node's inventory says.")
        fault = _per_gpu(names.METRIC_GPU_FAULT, "Why an unhealthy GPU is unhealthy, and since when; always 1.", _FAULT)
        foreign = _per_gpu(names.METRIC_GPU_FOREIGN, "Memory of the GPU that is in use and granted to no container.")
        given = _per_gpu(names.METRIC_GPU_MEMORY_GRANTED, "Memory of the GPU that containers on the node may have.")
        free = _per_gpu(
            names.METRIC_GPU_MEMORY_FREE,
            "Memory of the GPU that is neither granted nor in use without a grant; 0 while the GPU is unhealthy.",
        )
        free_cores = _per_gpu(
            names.METRIC_GPU_CORES_FREE, "Part of the GPU's compute time that isn't granted, 0 to 1; 0 likewise."
        )
        shares = _per_gpu(names.METRIC_GPU_SHARES, "Shares of the GPU that containers on the node have.")
        indexes = {uuid: gpu.index for uuid, gpu in self._granted.items()}
        indexes |= {uuid: gpu.index for uuid, gpu in reported.items()}
        indexes |= {uuid: gpu.index for uuid, gpu in read.items()}
        for uuid in sorted(indexes, key=lambda uuid: (indexes[uuid] or 0, uuid)):
            index = indexes[uuid]
            gpu = self._granted.get(uuid, GrantedGpu())
            told = reported.get(uuid)
            model = read[uuid].model if uuid in read else told.model if told else gpu.model
            labels = [self._node, "" if index is None else str(index), uuid, model]
            given.add_metric(labels, gpu.usage.memory * BYTES_PER_MIB)
            shares.add_metric(labels, gpu.usage.shares)
            if uuid in read:
                total.add_metric(labels, read[uuid].total)
                used.add_metric(labels, read[uuid].used)
                if (percent := read[uuid].utilisation) is not None:
                    utilisation.add_metric(labels, percent / 100)
                if (degrees := read[uuid].temperature) is not None:
                    temperature.add_metric(labels, degrees)
                if (milliwatts := read[uuid].power) is not None:
                    power.add_metric(labels, milliwatts / 1000)
                for clock, mhz in (("sm", read[uuid].sm_clock), ("memory", read[uuid].memory_clock)):
                    if mhz is not None:
                        clocks.add_metric([*labels, clock], mhz * 1e6)
            if told is not None:
                healthy.add_metric(labels, int(told.healthy))
                foreign.add_metric(labels, told.foreign * BYTES_PER_MIB)
                left = gpu_totals.left(told, gpu)
                free.add_metric(labels, left.memory * BYTES_PER_MIB)
                free_cores.add_metric(labels, left.cores / fit.FULL)
                if told.fault is not None:
                    fault.add_metric([*labels, told.fault.reason, told.fault.since], 1)
        yield from (total, used, utilisation, temperature, power, clocks, healthy, fault, foreign, given)
        yield from (free, free_cores, shares)
        yield from self._walls()
        up = GaugeMetricFamily(
            names.METRIC_EXPORTER_DRIVER, "Whether the driver answers the node agent.", labels=["node"]
        )
        up.add_metric([self._node], int(self._telemetry is not None))
        yield up
        seconds = GaugeMetricFamily(
            names.METRIC_EXPORTER_DURATION, "Seconds that collecting this page took.", labels=["node"]
        )
        seconds.add_metric([self._node], self._seconds)
        yield seconds

    def _walls(self) -> Iterable[GaugeMetricFamily]:
        """Without a word of the agent there is no sample: an old agent has walls too."""
        if self._report.walls is not None:
            text = "Whether a wall holds the node's containers to their memory: libvgpu, driver or comparison."
            found = GaugeMetricFamily(names.METRIC_NODE_WALL, text, labels=["node", "wall"])
            for wall in Wall:
                found.add_metric([self._node, wall], int(wall not in self._report.walls.missing))
            yield found


class _Findings(Collector):
    """Breaches that last."""

    def __init__(self, node: str, granted: Granted, report: Report) -> None:
        self._node, self._granted, self._report = node, granted, report

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield a sample for each container, GPU and kind of breach."""
        gpus = {gpu.uuid: gpu for gpu in self._report.gpus}
        breach = GaugeMetricFamily(
            names.METRIC_CONTAINER_BREACH,
            "A container uses more of a GPU than it was granted, in the way that kind says; always 1.",
            labels=["namespace", "pod", "container", "pod_uid", *_GPU, "kind"],
        )
        for entry in self._report.findings:
            key = entry.key
            if key.kind in breaches.BREACHES:
                gpu = gpus.get(key.gpu)
                index, model = ("", "") if gpu is None else (str(gpu.index), gpu.model)
                about = [entry.namespace, entry.pod, key.container, key.pod_uid]
                breach.add_metric([*about, self._node, index, key.gpu, model, key.kind], 1)
        yield breach


_GPU = ("node", "gpu", "uuid", "model")
_FAULT = ("reason", "since")
_CLOCK = ("clock",)


def _per_gpu(name: str, text: str, more: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=[*_GPU, *more])
