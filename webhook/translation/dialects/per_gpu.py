"""The shape in which memory and cores are said for each GPU (HAMi, Volcano)."""

from dataclasses import dataclass

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
    """MiB on each GPU."""
    percent: str
    """Percent of each GPU's memory."""
    cores: str
    """Percent of each GPU's compute time."""
    priority: str

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return (*self.counts, self.memory, self.percent, self.cores, self.priority)


def read(reader: ContainerReader, fields: Fields) -> Request | None:
    """The container's request; None with problems on the reader."""
    gpus = _gpus(reader, fields)
    memory = reader.memory(fields.memory, MiB(1))
    percent = reader.percent(fields.percent)
    cores = reader.percent(fields.cores)
    priority = reader.number(fields.priority, high=1, accepted="0 (high) or 1 (low)")
    if not (gpus or memory or percent or cores or reader.problems):
        reader.refuse(fields.priority, "has a meaning only for a container with a GPU", f"{fields.counts[0]} with it")
    if reader.problems:
        return None
    if memory and percent:
        reader.warn(f"{fields.percent} has no effect beside {fields.memory}")
        percent = Percent(0)
    reader.bare = not memory and not percent and not cores
    if not memory and not percent and cores in (0, 100):
        return Request(gpus=gpus or 1, whole=True, priority=priority)
    if not memory and not percent:
        percent = Percent(100)
        reader.warn(f"without {fields.memory} it gets all of each GPU's memory, and shares the GPU with nobody")
    return Request(
        gpus=gpus or 1,
        memory=memory,
        memory_percent=percent,
        cores=cores,
        policy=_compute(reader) if cores else ComputePolicy.UNLIMITED,
        priority=priority,
    )


def _gpus(reader: ContainerReader, fields: Fields) -> int:
    """Number of GPUs; 0 where the container doesn't name one."""
    named = [name for name in fields.counts if reader.has(name)]
    counts = {name: reader.gpus(name) for name in named}
    if len(set(counts.values())) > 1:
        other, first = named[-1], named[0]
        reader.refuse(other, f"and {first} = {reader.text(first)} disagree", f"one of the two, 1 to {MAX_GPUS}")
    if named and not any(counts.values()) and not reader.problems:
        reader.refuse(named[0], "no GPU to have memory or cores of", f"1 to {MAX_GPUS} GPUs a container")
    return max(counts.values(), default=0)


def _compute(reader: ContainerReader) -> ComputePolicy:
    value = reader.container.env.get(UTILIZATION_POLICY, "") or ""
    if value == "disable":
        return ComputePolicy.UNLIMITED
    if value not in _UTILIZATION:
        reader.warn(f"{UTILIZATION_POLICY} = {value!r} is not known (force, default, disable); the core share is held")
    return ComputePolicy.HARD
