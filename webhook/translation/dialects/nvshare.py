"""nvshare: time slices of a GPU without a limit of memory. Source: https://github.com/grgalex/nvshare."""

from unigpu.requests import ComputePolicy, Request
from unigpu.units import Percent
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect

GPU = "nvshare.com/gpu"
SHARE = Percent(10)
"""nvshare offers each GPU ten times."""


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    reader.number(GPU, high=1, accepted="1: a container shares one GPU")
    if reader.problems:
        return None
    reader.warn(GPU, "doesn't limit memory, so that other containers may find the GPU full")
    return Request(gpus=1, cores=SHARE, ceiling=Percent(100), policy=ComputePolicy.SOFT)


DIALECT = Dialect(name="nvshare", title="nvshare", resources=(GPU,), read=read)
