"""The platform owner's choices about how pods are read."""

import enum
from dataclasses import dataclass

from unigpu import names, units, vendor_resources
from unigpu.configured_dialects import STANDARD, Words
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
    """Meaning of `nvidia.com/gpu` in a container that names neither memory nor cores."""

    WHOLE = "whole"
    """Whole GPUs, allocated by unigpu."""
    LEAVE = "leave"
    """The pod is left to NVIDIA's own device plugin."""


VENDORS_SCHEDULERS = frozenset(
    {
        "",
        "default-scheduler",
        "gpu-admission",
        "gpushare-scheduler",
        "hami-scheduler",
        "kai-scheduler",
        "koord-scheduler",
        "qgpu-scheduler",
        "runai-scheduler",
        "tensor-fusion-scheduler",
        "vgpu-scheduler",
        "volcano",
    }
)
"""Values of schedulerName that stand for a vendor's GPU scheduler: unigpu's scheduler takes such pods over."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of a namespace for the containers in it; 0 means: not set."""

    default_memory: MiB = MiB(0)
    default_cores: Percent = Percent(0)
    max_gpus: int = 0
    max_memory: MiB = MiB(0)
    max_cores: Percent = Percent(0)
    warnings: tuple[str, ...] = ()
    """Warnings about rules that can't be understood, for every author of a pod there."""


NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class GpuKind:
    """GPUs of one model and size."""

    model: str
    """As NVML names it."""
    memory: MiB


@dataclass(frozen=True, slots=True)
class Options:
    """The platform's choices."""

    aliyun_unit: AliyunUnit = AliyunUnit.GIB
    bare_gpu: BareGpu = BareGpu.WHOLE
    opting_out: bool = True
    """Whether a pod's author may switch isolation off."""
    scheduler: str = names.SCHEDULER_NAME
    """The schedulerName that pods with GPUs get."""
    rules: Rules = NO_RULES
    """Rules of the pod's namespace."""
    gpus: tuple[GpuKind, ...] = ()
    """Each kind of GPU in the cluster once; none: unknown."""
    context_memory: MiB = MiB(0)
    """What a CUDA context takes at least on the GPUs of the cluster; 0: unknown."""
    volcano_factor: int = 1
    """MiB in one unit of Volcano's memory, `--gpu-memory-factor` of its device plugins."""
    vgpu_manager_factor: int = 1
    """MiB in one unit of vgpu-manager's memory, its `--device-memory-factor`."""
    ignored_dialects: frozenset[str] = frozenset()
    """Names of dialects that the pod's namespace has switched off."""
    schedulers: frozenset[str] = VENDORS_SCHEDULERS
    """Values of schedulerName that are replaced. Any other is refused, because that scheduler can't choose a GPU."""
    words: Words = STANDARD
    """Resource names that the cluster renames or adds."""
    keep_vendors: bool = True
    """Whether vendors' resources stay in the pod next to the unified ones."""
    published: bool = False
    """Whether nodes publish capacities of vendors' resources. Then a resource without effect is taken out, because a
    kubelet could refuse the pod for it."""

    @property
    def largest_gpu(self) -> MiB:
        """Memory of the largest GPU in the cluster; 0: unknown."""
        return max((kind.memory for kind in self.gpus), default=MiB(0))

    def keeps(self, resource: str) -> bool:
        """Return whether the resource stays in a translated pod.

        A name that is left to NVIDIA's device plugin doesn't: the kubelet would ask that plugin for a second GPU.
        """
        left = self.bare_gpu is BareGpu.LEAVE and resource == vendor_resources.NVIDIA_GPU
        return self.keep_vendors and not left
