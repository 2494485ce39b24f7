"""HAMi, and NVIDIA's own name for a GPU.

Sources: https://github.com/Project-HAMi/HAMi/blob/master/docs/config.md and the examples in that repository;
https://github.com/NVIDIA/k8s-device-plugin for the name on its own.
"""

from unigpu.requests import Request
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import per_gpu
from webhook.translation.options import BareGpu, Options
from webhook.translation.pods import Container, Pod

FIELDS = per_gpu.Fields(
    counts=("nvidia.com/gpu", "nvidia.com/vgpu"),
    memory="nvidia.com/gpumem",
    percent="nvidia.com/gpumem-percentage",
    cores="nvidia.com/gpucores",
    priority="nvidia.com/priority",
)
LABEL_IGNORE = ("hami.io/webhook", "ignore")


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    return per_gpu.read(reader, FIELDS)


def ignored(pod: Pod, container: Container, options: Options) -> bool:
    """Return whether the pod is labelled to be ignored, or is to be left to NVIDIA's own device plugin."""
    label, value = LABEL_IGNORE
    if pod.labels.get(label) == value:
        return True
    bare = {name for name in FIELDS.all if name in container.limits} <= {FIELDS.counts[0]}
    return options.bare_gpu is BareGpu.LEAVE and bare


DIALECT = Dialect(name="hami", title="HAMi", resources=FIELDS.all, read=read, ignored=ignored)
