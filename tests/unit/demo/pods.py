"""A pod of the demo as the cluster has it, and the output of its program."""

from typing import Any

from demo import report
from unigpu import allocations, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.requests import PodRequest, Request
from unigpu.units import BYTES_PER_MIB, GpuUuid, MiB, Percent

GPU = GpuUuid("GPU-5c620c50-0000-4000-8000-000000000000")


def pod(name: str = "aliyun-isolated") -> dict[str, Any]:
    """A pod with 3 GiB of one GPU, as admission and the scheduler left it."""
    request = PodRequest(
        {"main": Request(1, MiB(3072), original_fields={"aliyun.com/gpu-mem": "3"}, dialect="alibaba")}
    )
    allocation = Allocation("unigpu-1", {"main": (Share(GPU, MiB(3072), Percent(0)),)})
    annotations = {
        names.ANNOTATION_REQUEST: requests.dump(request),
        names.ANNOTATION_ALLOCATION: allocations.dump(allocation),
    }
    return {"metadata": {"name": name, "annotations": annotations}}


def output(uuid: str = GPU, error: str = report.OUT_OF_MEMORY) -> dict[str, Any]:
    """What the pod's program prints."""
    return {"gpus": [{"uuid": uuid, "total_bytes": 3072 * BYTES_PER_MIB, "taken_mib": 2926, "error": error}]}
