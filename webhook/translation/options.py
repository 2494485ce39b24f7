"""What the platform's owner chose about how pods are read."""

import enum
from dataclasses import dataclass

from unigpu import names, units
from unigpu.units import MiB, Percent


class AliyunUnit(enum.StrEnum):
    """Unit of `aliyun.com/gpu-mem`."""

    GIB = "GiB"
    MIB = "MiB"
    """Old installs of gpushare with `--memory-unit=MiB`."""

    @property
    def size(self) -> MiB:
        """MiB in one."""
        return units.gib(1) if self is AliyunUnit.GIB else MiB(1)


class BareGpu(enum.StrEnum):
    """What `nvidia.com/gpu` means in a container that names neither memory nor cores."""

    WHOLE = "whole"
    """Whole GPUs of unigpu's."""
    LEAVE = "leave"
    """Nothing of ours: NVIDIA's own device plugin serves the pod."""


VENDORS_SCHEDULERS = frozenset(
    {
        "",
        "default-scheduler",
        "gpu-admission",
        "gpushare-scheduler",
        "hami-scheduler",
        "kai-scheduler",
        "qgpu-scheduler",
        "runai-scheduler",
        "volcano",
    }
)
"""Values of schedulerName that say no more than "whoever places GPUs": such a pod is handed to our scheduler."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a namespace's owner set for the containers in it; 0 means: nothing."""

    default_memory: MiB = MiB(0)
    default_cores: Percent = Percent(0)
    max_gpus: int = 0
    max_memory: MiB = MiB(0)
    max_cores: Percent = Percent(0)
    warnings: tuple[str, ...] = ()
    """What was not understood, for everybody who makes pods there."""


NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Options:
    """The platform's choices."""

    aliyun_unit: AliyunUnit = AliyunUnit.GIB
    bare_gpu: BareGpu = BareGpu.WHOLE
    opting_out: bool = True
    """Whether a pod's author may switch isolation off."""
    scheduler: str = names.SCHEDULER_NAME
    """schedulerName that pods with GPUs get."""
    rules: Rules = NO_RULES
    """Of the pod's namespace."""
    largest_gpu: MiB = MiB(0)
    """Memory of the largest GPU in the cluster; 0: not known."""
    schedulers: frozenset[str] = VENDORS_SCHEDULERS
    """Values of schedulerName that are replaced; any other is refused, since nobody would choose a GPU."""
