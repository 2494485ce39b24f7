"""Make the page: everything known at the moment of a scrape. Only what was read and hasn't changed is kept."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter import exposition, gpu_totals
from exporter.agent_report import AgentReport
from exporter.container import Container
from exporter.driver import Driver, Reading
from exporter.folders import Folders
from exporter.gpu_totals import GrantedGpu
from unigpu import breaches, grants, names
from unigpu.node_report import Report
from unigpu.units import BYTES_PER_MIB, Bytes, GpuUuid

Granted = Mapping[GpuUuid, GrantedGpu]


class MetricsPage:
    """Collects from the folders and the driver."""

    def __init__(
        self,
        folders: Folders,
        driver: Driver,
        report: AgentReport,
        node: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._folders, self._driver, self._report, self._node, self._clock = folders, driver, report, node, clock
        self._containers: list[Container] = []
        self._steady: bytes = b""
        self._moving: bytes = b""
        self._used: list[exposition.Used] = []
        self._current: list[bytes] = []
        self._granted: Granted = {}
        self._sizes: dict[GpuUuid, Bytes] = {}
        """Memory of each GPU by the last reading, which a GPU keeps."""

    def collect(self) -> list[bytes]:
        """Return the page in pieces. Raises OSError where the containers' root can't be listed."""
        began = self._clock()
        answer = self._driver.ask()
        changed = self._folders.refresh()
        if changed:
            self._containers = self._folders.containers()
        now_ns = time.monotonic_ns()
        for container in self._containers:
            changed |= container.refresh(now_ns, self._sizes)
        if changed or not self._steady:
            self._steady = self._steady_lines()
            self._granted = gpu_totals.granted(container.grant for container in self._containers)
        used = [container.used for container in self._containers]
        current = [container.current for container in self._containers]
        if changed or not self._moving or used != self._used or current != self._current:
            self._used, self._current = used, current
            self._moving = self._moving_lines()
        reading = answer()
        if reading is not None:
            self._sizes |= {gpu.uuid: gpu.total for gpu in reading.gpus}
        registry = CollectorRegistry(auto_describe=False)
        report = self._report.read() or Report()
        registry.register(_Findings(self._node, self._granted, report))
        registry.register(_Gpus(self._node, self._granted, reading, report, self._clock() - began))
        return [generate_latest(registry), self._moving, self._steady]

    def _moving_lines(self) -> bytes:
        """Lines of what containers use."""
        used = self._used
        return b"".join(
            [
                exposition.USED.head,
                *[lines.memory for lines in used],
                exposition.FAILURES.head,
                *[lines.failures for lines in used],
                exposition.SECONDS.head,
                *[lines.seconds for lines in used],
                exposition.THROTTLED.head,
                *[lines.throttled for lines in used],
                exposition.WAITS.head,
                *[lines.waits for lines in used],
                exposition.CURRENT.head,
                *self._current,
            ]
        )

    def _steady_lines(self) -> bytes:
        """Lines that stay as they are until a folder comes or goes, or a limit changes."""
        granted = [container.granted for container in self._containers]
        return b"".join(
            [
                exposition.LIMIT.head,
                *[lines.limit for lines in granted],
                exposition.CORES.head,
                *[lines.cores for lines in granted],
                exposition.CEILING.head,
                *[lines.ceiling for lines in granted],
                exposition.INFO.head,
                *[lines.info for lines in granted],
                exposition.UNREADABLE.head,
                *[exposition.unreadable(self._node, *key, grants.GRANT_FILE) for key in self._folders.broken],
                *[
                    exposition.unreadable(self._node, container.grant.pod_uid, container.grant.container, file)
                    for container in self._containers
                    for file in container.unreadable
                ],
            ]
        )


class _Gpus(Collector):
    """GPUs, and the exporter itself."""

    def __init__(self, node: str, granted: Granted, reading: Reading | None, report: Report, seconds: float) -> None:
        self._node, self._granted, self._reading, self._seconds = node, granted, reading, seconds
        self._report = report

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield one sample a GPU and metric; what the driver doesn't say is left out rather than 0."""
        read = {gpu.uuid: gpu for gpu in self._reading.gpus} if self._reading is not None else {}
        lost = self._reading.lost if self._reading is not None else {}
        reported = {gpu.uuid: gpu for gpu in self._report.gpus}
        total = _per_gpu(names.METRIC_GPU_MEMORY_TOTAL, "Memory of the GPU.")
        used = _per_gpu(names.METRIC_GPU_MEMORY_USED, "Memory of the GPU that is in use, as the driver reports it.")
        utilisation = _per_gpu(names.METRIC_GPU_UTILISATION, "Part of the time in which the GPU worked, 0 to 1.")
        healthy = _per_gpu(names.METRIC_GPU_HEALTHY, "Whether the GPU is healthy, as the node's inventory says.")
        fault = _per_gpu(names.METRIC_GPU_FAULT, "Why an unhealthy GPU is unhealthy, and since when; always 1.", _FAULT)
        foreign = _per_gpu(names.METRIC_GPU_FOREIGN, "Memory of the GPU that is in use and granted to no container.")
        given = _per_gpu(names.METRIC_GPU_MEMORY_GRANTED, "Memory of the GPU that containers on the node may have.")
        shares = _per_gpu(names.METRIC_GPU_SHARES, "Shares of the GPU that containers on the node have.")
        indexes = {uuid: gpu.index for uuid, gpu in self._granted.items()}
        indexes |= {uuid: gpu.index for uuid, gpu in reported.items()}
        indexes |= {uuid: gpu.index for uuid, gpu in read.items()}
        # The index of a lost GPU isn't known unless a container has it: it comes last.
        for uuid in sorted(indexes.keys() | lost, key=lambda uuid: (uuid not in indexes, indexes.get(uuid) or 0, uuid)):
            index = indexes.get(uuid)
            gpu = self._granted.get(uuid, GrantedGpu())
            told = reported.get(uuid)
            model = read[uuid].model if uuid in read else lost.get(uuid) or (told.model if told else gpu.model)
            labels = [self._node, "" if index is None else str(index), uuid, model]
            given.add_metric(labels, gpu.usage.memory * BYTES_PER_MIB)
            shares.add_metric(labels, gpu.usage.shares)
            if uuid in read:
                total.add_metric(labels, read[uuid].total)
                used.add_metric(labels, read[uuid].used)
                if (percent := read[uuid].utilisation) is not None:
                    utilisation.add_metric(labels, percent / 100)
            if told is not None:
                healthy.add_metric(labels, int(told.healthy))
                foreign.add_metric(labels, told.foreign * BYTES_PER_MIB)
                if told.fault is not None:
                    fault.add_metric([*labels, told.fault.reason, told.fault.since], 1)
            elif uuid in read or uuid in lost:
                healthy.add_metric(labels, int(uuid in read))
        yield from (total, used, utilisation, healthy, fault, foreign, given, shares)
        up = GaugeMetricFamily(names.METRIC_EXPORTER_DRIVER, "Whether the driver answered in time.", labels=["node"])
        up.add_metric([self._node], int(self._reading is not None))
        yield up
        seconds = GaugeMetricFamily(
            names.METRIC_EXPORTER_DURATION, "Seconds that collecting this page took.", labels=["node"]
        )
        seconds.add_metric([self._node], self._seconds)
        yield seconds


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


def _per_gpu(name: str, text: str, more: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=[*_GPU, *more])
