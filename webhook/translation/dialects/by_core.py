"""The shape in which 100 cores are a GPU: less is a share, multiples of 100 are whole GPUs (Tencent)."""

from dataclasses import dataclass

from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader


@dataclass(frozen=True, slots=True)
class Fields:
    """The vendor's resource names, and the values that it accepts."""

    core: str
    """Percent of one GPU, over all GPUs."""
    memory: str
    unit: MiB
    """MiB in one of `memory`."""
    least: int = 1
    """Smallest share of a GPU, percent."""
    core_needed: bool = True
    """Whether memory alone is refused."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return (self.core, self.memory)


def read(reader: ContainerReader, fields: Fields) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    accepted = (
        f"{fields.least} to 99 for a share of one GPU, or a multiple of 100 up to {MAX_GPUS * 100} for whole GPUs"
    )
    core = reader.number(fields.core, high=1_000_000_000, accepted=accepted)
    memory = reader.memory(fields.memory, fields.unit)
    if reader.problems:
        return None
    gpus, rest = divmod(core, 100)
    if core > MAX_GPUS * 100 or (gpus and rest) or 0 < core < fields.least:
        reader.refuse(fields.core, "neither a share of one GPU nor whole GPUs", accepted)
        return None
    if gpus:
        if memory:
            reader.warn(fields.memory, "has no effect on whole GPUs, which come with all their memory")
            reader.void.add(fields.memory)
        return Request(gpus=gpus, whole=True)
    if not memory:
        why = f"a share of a GPU needs {fields.memory}"
        reader.refuse(fields.core, why, f"together with {fields.memory} of 1 or more")
        return None
    if not core and fields.core_needed:
        reader.refuse(fields.memory, f"needs {fields.core}", f"together with {fields.core}: {accepted}")
        return None
    compute = ComputePolicy.HARD if core else ComputePolicy.UNLIMITED
    return Request(gpus=1, memory=memory, cores=Percent(core), policy=compute)
