"""The shape in which memory and cores are given for each GPU (HAMi, Volcano)."""

from dataclasses import dataclass

from unigpu import names
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader

UTILIZATION_POLICY = "GPU_CORE_UTILIZATION_POLICY"
_UTILIZATION = {"": ComputePolicy.HARD, "default": ComputePolicy.HARD, "force": ComputePolicy.HARD}


@dataclass(frozen=True, slots=True)
class Fields:
    """The vendor's resource names."""

    counts: tuple[str, ...]
    """Names for the number of GPUs, any one of them."""
    memory: str
    """Memory on each GPU, in MiB unless the dialect has another unit."""
    percent: str
    """Percent of each GPU's memory."""
    cores: str
    """Percent of each GPU's compute time."""
    priority: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        names = (*self.counts, self.memory, self.percent, self.cores, self.priority)
        return tuple(name for name in names if name)


def read(reader: ContainerReader, fields: Fields, unit: MiB = MiB(1)) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    gpus = _gpus(reader, fields)
    memory = reader.memory(fields.memory, unit)
    percent = reader.percent(fields.percent)
    cores = reader.percent(fields.cores)
    priority = _priority(reader, fields.priority)
    if not (gpus or memory or percent or cores or reader.problems):
        reader.refuse(fields.priority, "has no effect without a GPU", f"together with {fields.counts[0]}")
    if reader.problems:
        return None
    if memory and percent:
        reader.warn(fields.percent, f"has no effect together with {fields.memory}", "one of the two")
        reader.void.add(fields.percent)
        percent = Percent(0)
    reader.count_only = not memory and not percent and not cores
    if not memory and not percent and cores in (0, 100):
        return Request(gpus=gpus or 1, whole=True, priority=priority)
    if not memory and not percent:
        percent = Percent(100)
        why = "without memory reserves all memory of each GPU, so no other container fits there"
        reader.warn(fields.cores, why, f"together with {fields.memory}")
    return Request(
        gpus=gpus or 1,
        memory=memory,
        memory_percent=percent,
        cores=cores,
        policy=_compute(reader) if cores else ComputePolicy.UNLIMITED,
        priority=priority,
    )


def _gpus(reader: ContainerReader, fields: Fields) -> int:
    """Return the number of GPUs; 0 where the container doesn't name one."""
    named = [name for name in fields.counts if reader.has(name)]
    counts = {name: reader.gpus(name) for name in named}
    if len(set(counts.values())) > 1:
        other, first = named[-1], named[0]
        reader.refuse(
            other, f"contradicts {first} = {reader.text(first)}", f"only one of them, with 1 to {MAX_GPUS} GPUs"
        )
    if named and not any(counts.values()) and not reader.problems:
        reader.refuse(named[0], "the container requests GPU memory or cores, but no GPU", f"1 to {MAX_GPUS}")
    if not named:
        # The count may have been left to NVIDIA's device plugin, and so taken out.
        return min(reader.translated(names.RESOURCE_VGPU), MAX_GPUS)
    return max(counts.values(), default=0)


def _priority(reader: ContainerReader, field: str) -> int:
    """Return 0 (high) or 1 (low)."""
    priority = reader.number(field, high=1_000_000, accepted="0 (high) or 1 (low)")
    if priority > 1:
        reader.warn(field, "counts as 1, the lowest priority", "0 (high) or 1 (low)")
    return min(priority, 1)


def _compute(reader: ContainerReader) -> ComputePolicy:
    value = reader.container.env.get(UTILIZATION_POLICY, "") or ""
    if value == "disable":
        return ComputePolicy.UNLIMITED
    if value not in _UTILIZATION:
        why = "unknown value; the share of cores is a hard limit"
        reader.warn(f"env {UTILIZATION_POLICY}", why, "force, default or disable", value=value)
    return ComputePolicy.HARD
