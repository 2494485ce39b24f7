"""What a pod's events say of its GPUs: which it got, that memory was refused, that its limits ended with it. No I/O."""

from collections.abc import Mapping, Sequence

from deviceplugin.node.incident_words import gpu_title
from unigpu import limits, requests
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.limits import Limits
from unigpu.policy import Policy
from unigpu.units import Bytes, GpuUuid, to_mib


def assigned(grant: Grant, policy: Policy, gpus: Mapping[GpuUuid, Gpu]) -> str:
    """`container main: GPU 0 (Tesla P40, GPU-…): 3072 MiB of its memory, 30 % of its compute time`."""
    parts = []
    for share, limit in zip(grant.shares, policy.gpus, strict=True):
        parts.append(f"{gpu_title(share.gpu, gpus)}: {_share(share, limit.cores)}")
    isolated = "" if policy.memory_enforced or not grant.shares else "; its limits aren't enforced"
    return f"container {grant.container}: {'; '.join(parts)}{isolated}"


def _share(share: Share, cores: int) -> str:
    if share.whole:
        return "whole"
    memory = f"{share.memory} MiB of its memory" if share.memory else "memory without limit"
    return f"{memory}, {f'{cores} % of its compute time' if cores else 'compute time without limit'}"


def cut_back(container: str, amount: int) -> str:
    """Return that a container made its usage file longer, which libvgpu never does."""
    return (
        f"container {container} made its usage file take {to_mib(Bytes(amount))} MiB more of the node's disk than it "
        "needs; it was cut back, and will be each time"
    )


def refused(grant: Grant, place: int, used: Bytes, gpus: Mapping[GpuUuid, Gpu]) -> str:
    """Return that a program wanted more memory than its container may have of the GPU at this place."""
    share = grant.shares[place]
    has = f"its programs have {to_mib(used)} of {share.memory} MiB"
    if share.whole:
        more = "accepted: a GPU with more memory, or a program that uses less"
    else:
        target = f"{grant.pod} -n {grant.namespace} -c {grant.container}"
        more = f"accepted: kubectl unigpu limit {target} --memory MIB, or a program that uses less"
    return f"container {grant.container} was refused memory of {gpu_title(share.gpu, gpus)}: {has}; {more}"


def ended(pod: str, wanted: Limits, request: requests.PodRequest, next_of: str) -> str:
    """Return that the pod's limits are gone; `next_of`: the controller that makes the next one, empty: nobody does."""
    said = "; ".join(f"{name}: {_amounts(limit)}" for name, limit in wanted.items())
    if not next_of:
        return f"limits of pod {pod} ended with it ({said})"
    asked = "; ".join(
        f"{name}: {one.memory} MiB" if one.memory else f"{name}: {one.memory_percent} % of the memory"
        for name, one in request.containers.items()
        if name in wanted
    )
    return (
        f"limits of pod {pod} ended with it ({said}); the next pod of {next_of} starts as requested ({asked}); to keep "
        "them, change the request in its template"
    )


def _amounts(limit: limits.Limit) -> str:
    said = [
        *([f"memory {limit.memory} MiB"] if limit.memory is not None else []),
        *([f"cores {limit.cores} %"] if limit.cores is not None else []),
        *([f"ceiling {limit.ceiling} %"] if limit.ceiling is not None else []),
        *([f"policy {limit.policy}"] if limit.policy is not None else []),
    ]
    return ", ".join(said)


def newly_refused(before: Sequence[int] | None, now: Sequence[int]) -> list[int]:
    """Return the places of the GPUs whose refusals have grown; without a `before`, since the file was made."""
    return [place for place, count in enumerate(now) if count > (before[place] if before is not None else 0)]
