"""A dialect that the cluster's configuration adds, in one of the two common shapes."""

import dataclasses
import functools

from unigpu.configured_dialects import ConfiguredDialect, Shape
from unigpu.requests import ComputePolicy, Request
from unigpu.units import FULL
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import by_core, per_gpu


def dialect(said: ConfiguredDialect) -> Dialect:
    """Return the dialect that reads these names."""
    resources = (said.count, said.memory, said.memory_percent, said.cores, said.priority)
    return Dialect(
        name=said.name,
        title=said.name,
        resources=tuple(name for name in resources if name),
        read=functools.partial(read, said=said),
    )


def read(reader: ContainerReader, said: ConfiguredDialect) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    if said.shape is Shape.PER_GPU:
        fields = per_gpu.Fields((said.count,), said.memory, said.memory_percent, said.cores, said.priority)
        request = per_gpu.read(reader, fields, said.memory_unit)
    else:
        request = by_core.read(reader, by_core.Fields(said.cores, said.memory, said.memory_unit, core_needed=False))
    if request is None or said.policy is not ComputePolicy.SOFT or request.policy is not ComputePolicy.HARD:
        return request
    if request.whole or request.cores == FULL:
        return request
    return dataclasses.replace(request, policy=ComputePolicy.SOFT, ceiling=FULL)
