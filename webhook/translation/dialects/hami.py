"""HAMi, and NVIDIA's own name for a GPU.

Sources: https://github.com/Project-HAMi/HAMi/blob/master/docs/config.md and the examples in that repository;
https://github.com/NVIDIA/k8s-device-plugin for the name on its own.
"""

import functools

from unigpu import names, vendor_resources
from unigpu.configured_dialects import HamiNames
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import per_gpu
from webhook.translation.options import BareGpu, Options
from webhook.translation.pods import Container, Pod

LABEL_IGNORE = ("hami.io/webhook", "ignore")


def renamed(names_: HamiNames) -> Dialect:
    """Return the dialect with these names, as HAMi's own chart can set them (`resourceName` and the like)."""
    fields = per_gpu.Fields(
        counts=(names_.count, "nvidia.com/vgpu"),
        memory=names_.memory,
        percent=names_.memory_percent,
        cores=names_.cores,
        priority=names_.priority,
    )
    return Dialect(
        name=names.DIALECT_HAMI,
        title="HAMi",
        resources=fields.all,
        read=functools.partial(per_gpu.read, fields=fields),
        ignored=functools.partial(ignored, fields=fields),
    )


def ignored(pod: Pod, container: Container, options: Options, fields: per_gpu.Fields) -> bool:
    """Return whether the pod is labelled to be ignored, or is to be left to NVIDIA's own device plugin."""
    label, value = LABEL_IGNORE
    if pod.labels.get(label) == value:
        return True
    bare = {name for name in fields.all if name in container.limits} <= {vendor_resources.NVIDIA_GPU}
    return options.bare_gpu is BareGpu.LEAVE and bare
