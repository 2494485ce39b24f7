"""nvshare: turns on a GPU, without limits of memory."""

from unigpu.requests import ComputePolicy, Request
from unigpu.units import Percent
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect

GPU = "nvshare.com/gpu"
SHARE = Percent(10)
"""nvshare makes ten of each GPU."""


def read(reader: ContainerReader) -> Request | None:
    """The container's request; None with problems on the reader."""
    reader.number(GPU, high=1, accepted="1: a container gets turns on one GPU")
    if reader.problems:
        return None
    reader.warn(f"{GPU} doesn't limit memory: neighbours on the GPU may find it full")
    return Request(gpus=1, cores=SHARE, ceiling=Percent(100), policy=ComputePolicy.SOFT)


DIALECT = Dialect(name="nvshare", title="nvshare", resources=(GPU,), read=read)
