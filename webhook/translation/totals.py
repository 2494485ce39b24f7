"""A request's amounts in the unified form, as quotas, the kube-scheduler and autoscalers add them up. Pure.

The memory of whole GPUs and of percentages depends on the GPU, which isn't chosen yet. It counts as that of the
smallest GPU in the cluster that the pod accepts. With one kind of GPU that is exact; with several it is never more than
what the pod gets, so that no sum keeps a pod from a node on which it fits.
"""

from unigpu import fit, names
from unigpu.requests import Preferences, Request
from unigpu.units import FULL, MiB
from webhook.translation.options import Options


def unified(request: Request, memory: MiB = MiB(0)) -> dict[str, str]:
    """Return the container's limits in the unified form, without amounts that are 0.

    `memory` is what `memory_of` says, 0 where that isn't known. Then memory that is a percentage or unlimited is an
    explicit 0. By this a copy that has lost its annotations differs from a pod that asks for all of the memory.
    """
    amounts = {
        names.RESOURCE_VGPU: request.gpus,
        names.RESOURCE_MEMORY: request.total_memory or memory,
        names.RESOURCE_CORES: request.total_cores,
    }
    all_memory = request.whole or (request.memory_percent == FULL and request.cores)
    return {
        name: str(amount)
        for name, amount in amounts.items()
        if amount or (name == names.RESOURCE_MEMORY and not all_memory)
    }


def memory_of(request: Request, preferences: Preferences, options: Options) -> MiB:
    """Return the MiB, over all GPUs, for which the request counts; 0: no limit of memory, or no GPU is known."""
    if request.memory:
        return request.total_memory
    percent = FULL if request.whole else request.memory_percent
    if not percent:
        return MiB(0)
    fitting = [kind.memory for kind in options.gpus if fit.accepts_model(preferences, kind.model)]
    smallest = min(fitting, default=min((kind.memory for kind in options.gpus), default=MiB(0)))
    return MiB(request.gpus * (smallest * percent // FULL))
