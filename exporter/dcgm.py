"""The names of NVIDIA's dcgm-exporter, for boards and programs that know no others; on request only.

dcgm-exporter itself can't tell the shares of one GPU apart, and doesn't know unigpu's pods. Names, units and labels are
those of its default counters: https://github.com/NVIDIA/dcgm-exporter/blob/main/etc/default-counters.csv
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter.exposition import NANO, Family, labels
from unigpu.grants import Grant
from unigpu.telemetry import GpuTelemetry, Telemetry
from unigpu.units import BYTES_PER_MIB, Bytes, GpuUuid
from unigpu.usage import GpuTotals

FB_USED = Family("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB), of a container's share.")
FB_FREE = Family("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB), of a container's share.")
GPU_UTIL = Family("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %), by a container.")
ACTIVE = Family(
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active, by a container."
)
TEMPERATURE = Family("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).")
POWER = Family("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).")
SM_CLOCK = Family("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).")
MEMORY_CLOCK = Family("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).")
_SHORTEST = 1.0
"""Seconds between two readings of which a rate is made: of less, one kernel more or less shows."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one container has and uses of one GPU."""

    grant: Grant
    gpu: GpuUuid
    limit: Bytes
    """0: not limited."""
    totals: GpuTotals


class DcgmNames:
    """Makes the lines. The rate of GPU time is the only thing of the exporter that needs an earlier page."""

    def __init__(self, node: str, *, gpus: bool) -> None:
        """`gpus`: also what is known of each GPU, where no dcgm-exporter runs."""
        self._node, self._gpus = node, gpus
        self._seen: dict[tuple[str, str, GpuUuid], tuple[float, int, float]] = {}

    def lines(self, shares: Iterable[Share], telemetry: Telemetry | None, now: float) -> bytes:
        """Return the lines. `now`: seconds of a clock that never goes back."""
        gpus = telemetry.gpus if telemetry is not None else ()
        sizes = {gpu.uuid: gpu.total for gpu in gpus}
        models = {gpu.uuid: gpu.model for gpu in gpus}
        found: dict[Family, list[str]] = {family: [] for family in (FB_USED, FB_FREE, GPU_UTIL, ACTIVE)}
        seen = {}
        for share in shares:
            spelled = self._labels(share, models)
            found[FB_USED].append(f"{FB_USED.name}{spelled} {share.totals.used // BYTES_PER_MIB}\n")
            if size := share.limit or sizes.get(share.gpu):
                free = max(0, size - share.totals.used)
                found[FB_FREE].append(f"{FB_FREE.name}{spelled} {free // BYTES_PER_MIB}\n")
            key = share.grant.pod_uid, share.grant.container, share.gpu
            seen[key] = self._rate(key, share.totals.compute_ns, now)
            rate = seen[key][2]
            found[GPU_UTIL].append(f"{GPU_UTIL.name}{spelled} {round(rate * 100)}\n")
            found[ACTIVE].append(f"{ACTIVE.name}{spelled} {rate:.6f}\n")
        self._seen = seen
        if self._gpus:
            found |= self._of_gpus(gpus)
        return b"".join(family.head + "".join(lines).encode() for family, lines in found.items())

    def _rate(self, key: tuple[str, str, GpuUuid], compute_ns: int, now: float) -> tuple[float, int, float]:
        """When, GPU time then, and the rate until then."""
        before = self._seen.get(key)
        if before is None:
            return now, compute_ns, 0.0
        at, charged, rate = before
        if now - at < _SHORTEST:
            return at, charged, rate
        # Charges are made ahead of the kernels that they are for, so a short time may see more than its length.
        return now, compute_ns, min(1.0, max(0.0, (compute_ns - charged) / NANO / (now - at)))

    def _labels(self, share: Share, models: Mapping[GpuUuid, str]) -> str:
        grant = share.grant
        index = grant.indexes.get(share.gpu)
        model = models.get(share.gpu) or grant.models.get(share.gpu, "")
        about = {"container": grant.container, "namespace": grant.namespace, "pod": grant.pod}
        return labels(self._gpu_labels(index, share.gpu, model) | about)

    def _gpu_labels(self, index: int | None, uuid: GpuUuid, model: str) -> dict[str, str]:
        number = "" if index is None else str(index)
        device = f"nvidia{number}" if number else ""
        return {"gpu": number, "UUID": uuid, "device": device, "modelName": model, "Hostname": self._node}

    def _of_gpus(self, gpus: Iterable[GpuTelemetry]) -> Mapping[Family, list[str]]:
        found: dict[Family, list[str]] = {}
        for gpu in gpus:
            spelled = labels(self._gpu_labels(gpu.index, gpu.uuid, gpu.model))
            for family, value in _values(gpu):
                found.setdefault(family, []).append(f"{family.name}{spelled} {value:g}\n")
        return found


def _values(gpu: GpuTelemetry) -> Iterator[tuple[Family, float]]:
    watts = None if gpu.power is None else gpu.power / 1000
    values = (gpu.temperature, watts, gpu.sm_clock, gpu.memory_clock)
    for family, value in zip((TEMPERATURE, POWER, SM_CLOCK, MEMORY_CLOCK), values, strict=True):
        if value is not None:
            yield family, value
