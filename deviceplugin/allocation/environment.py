"""Environment variables that programs written for a vendor's GPU sharing expect, in the vendor's own units.

Alibaba Cloud's `ALIYUN_COM_GPU_MEM_*`: https://github.com/AliyunContainerService/gpushare-device-plugin
HAMi's `CUDA_DEVICE_*`: https://github.com/Project-HAMi/HAMi-core
"""

from collections.abc import Collection, Mapping, Sequence

from unigpu import names, units
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.policy import Policy
from unigpu.requests import PodRequest, Request
from unigpu.units import Bytes, GpuUuid

_DIGITS = 18
_LIMITS = (names.ENV_MEMORY_LIMIT, names.ENV_CORE_LIMIT)


def vendor(
    pod: PodRequest,
    container: str,
    shares: Sequence[Share],
    gpus: Mapping[GpuUuid, Gpu],
    policy: Policy,
    taken: Collection[str],
) -> dict[str, str]:
    """Return the variables of the container's dialect; those that its author set (`taken`) are left out."""
    request = pod.containers[container]
    if request.dialect == names.DIALECT_ALIBABA:
        said = _alibaba(pod, request, shares, gpus)
    elif request.dialect == names.DIALECT_HAMI:
        said = _hami(policy)
    else:
        said = {}
    ours = {key: value for key, value in said.items() if key not in taken}
    given = [f"{key}={value}" for key, value in ours.items() if key.startswith(_LIMITS)]
    # libvgpu doesn't take these for limits that somebody tightened, so that they can be raised later.
    return {**ours, names.ENV_INJECTED_LIMITS: ";".join(given)} if given else ours


def _alibaba(pod: PodRequest, request: Request, shares: Sequence[Share], gpus: Mapping[GpuUuid, Gpu]) -> dict[str, str]:
    amount = _asked(request)
    if amount == 0 or request.memory == 0:
        return {}
    # The platform reads the number in GiB or MiB: the translated memory shows which.
    unit = max(1, request.total_memory // amount)
    first = gpus[shares[0].gpu]
    return {
        names.ENV_ALIYUN_INDEX: ",".join(str(gpus[share.gpu].index) for share in shares),
        names.ENV_ALIYUN_POD: str(sum(_asked(other) for other in pod.containers.values())),
        names.ENV_ALIYUN_CONTAINER: str(request.memory // unit),
        names.ENV_ALIYUN_GPU: str(first.memory // unit),
    }


def _asked(request: Request) -> int:
    text = request.original_fields.get(names.ALIYUN_GPU_MEM, "")
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else 0


def _hami(policy: Policy) -> dict[str, str]:
    said = {names.ENV_SHARED_CACHE: names.CONTAINER_USAGE}
    if policy.memory_enforced:
        for position, gpu in enumerate(policy.gpus):
            if gpu.memory:
                said[f"{names.ENV_MEMORY_LIMIT}_{position}"] = f"{units.to_mib(Bytes(gpu.memory))}m"
    ceilings = {gpu.ceiling for gpu in policy.gpus if gpu.cores}
    if policy.cores_enforced and len(ceilings) == 1:
        said[names.ENV_CORE_LIMIT] = str(ceilings.pop())
    return said
