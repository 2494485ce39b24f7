"""The page: everything known at the moment of a scrape. Nothing is kept but what was read and hasn't changed."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter import exposition, gpu_totals
from exporter.container import Container
from exporter.driver import Driver, Sight
from exporter.folders import Folders
from unigpu import grants, names
from unigpu.allocations import GpuUsage
from unigpu.units import BYTES_PER_MIB, GpuUuid

Granted = Mapping[GpuUuid, tuple[int | None, GpuUsage]]


class Page:
    """Collects from the folders and the driver."""

    def __init__(self, folders: Folders, driver: Driver, clock: Callable[[], float] = time.perf_counter) -> None:
        self._folders, self._driver, self._clock = folders, driver, clock
        self._containers: list[Container] = []
        self._still: bytes = b""
        self._moving: bytes = b""
        self._used: list[exposition.Used] = []
        self._now: list[bytes] = []
        self._granted: Granted = {}

    def collect(self) -> list[bytes]:
        """The page in pieces. Raises OSError where the containers' root can't be listed."""
        began = self._clock()
        answer = self._driver.ask()
        changed = self._folders.refresh()
        if changed:
            self._containers = self._folders.containers()
        now_ns = time.monotonic_ns()
        for container in self._containers:
            changed |= container.refresh(now_ns)
        if changed or not self._still:
            self._still = self._unchanging()
            self._granted = gpu_totals.granted(container.grant for container in self._containers)
        used = [container.used for container in self._containers]
        now = [container.now for container in self._containers]
        if changed or not self._moving or used != self._used or now != self._now:
            self._used, self._now = used, now
            self._moving = self._changing()
        sight = answer()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Gpus(self._granted, sight, self._clock() - began))
        return [generate_latest(registry), self._moving, self._still]

    def _changing(self) -> bytes:
        """Lines of what containers use."""
        used = self._used
        return b"".join(
            [
                exposition.USED.head,
                *[lines.memory for lines in used],
                exposition.REFUSED.head,
                *[lines.refused for lines in used],
                exposition.SECONDS.head,
                *[lines.seconds for lines in used],
                exposition.THROTTLED.head,
                *[lines.throttled for lines in used],
                exposition.WAITS.head,
                *[lines.waits for lines in used],
                exposition.NOW.head,
                *self._now,
            ]
        )

    def _unchanging(self) -> bytes:
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
                *[exposition.unreadable(*key, grants.GRANT_FILE) for key in self._folders.broken],
                *[
                    exposition.unreadable(container.grant.pod_uid, container.grant.container, file)
                    for container in self._containers
                    for file in container.unreadable
                ],
            ]
        )


class _Gpus(Collector):
    """GPUs, and the exporter itself."""

    def __init__(self, granted: Granted, sight: Sight | None, seconds: float) -> None:
        self._granted, self._sight, self._seconds = granted, sight, seconds

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One sample a GPU and metric; what the driver doesn't say is left out rather than 0."""
        seen = {gpu.uuid: gpu for gpu in self._sight.gpus} if self._sight is not None else {}
        lost = self._sight.lost if self._sight is not None else frozenset()
        total = _per_gpu(names.METRIC_GPU_MEMORY_TOTAL, "Memory of the GPU.")
        used = _per_gpu(names.METRIC_GPU_MEMORY_USED, "Memory of the GPU that is in use, as the driver says.")
        utilisation = _per_gpu(names.METRIC_GPU_UTILISATION, "Percent of time in which the GPU worked.")
        healthy = _per_gpu(names.METRIC_GPU_HEALTHY, "Whether the driver answers for the GPU.")
        given = _per_gpu(names.METRIC_GPU_MEMORY_GRANTED, "Memory of the GPU that containers on the node may have.")
        shares = _per_gpu(names.METRIC_GPU_SHARES, "Shares of the GPU that containers on the node have.")
        indexes = {uuid: index for uuid, (index, _) in self._granted.items()}
        indexes |= {uuid: gpu.index for uuid, gpu in seen.items()}
        # The index of a lost GPU isn't known unless a container has it: it comes last.
        for uuid in sorted(indexes.keys() | lost, key=lambda uuid: (uuid not in indexes, indexes.get(uuid) or 0, uuid)):
            index = indexes.get(uuid)
            spelled = [uuid, "" if index is None else str(index)]
            _, use = self._granted.get(uuid, (None, GpuUsage()))
            given.add_metric(spelled, use.memory * BYTES_PER_MIB)
            shares.add_metric(spelled, use.shares)
            if uuid in seen:
                total.add_metric(spelled, seen[uuid].total)
                used.add_metric(spelled, seen[uuid].used)
                if (percent := seen[uuid].utilisation) is not None:
                    utilisation.add_metric(spelled, percent)
            if uuid in seen or uuid in lost:
                healthy.add_metric(spelled, int(uuid in seen))
        yield from (total, used, utilisation, healthy, given, shares)
        up = GaugeMetricFamily(names.METRIC_EXPORTER_DRIVER, "Whether the driver answered in time.")
        up.add_metric([], int(self._sight is not None))
        yield up
        seconds = GaugeMetricFamily(names.METRIC_EXPORTER_SECONDS, "Time that collecting this page took.")
        seconds.add_metric([], self._seconds)
        yield seconds


def _per_gpu(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["gpu", "index"])
