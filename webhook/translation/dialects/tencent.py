"""Tencent's open-source gpu-manager (vCUDA). Source: https://github.com/tkestack/gpu-manager."""

import dataclasses

from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import by_core

FIELDS = by_core.Fields(core="tencent.com/vcuda-core", memory="tencent.com/vcuda-memory", unit=MiB(256))
CORE_LIMIT = "tencent.com/vcuda-core-limit"


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    request = by_core.read(reader, FIELDS)
    limit = reader.annotation(CORE_LIMIT)
    if limit is None:
        return request
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= 100):
        reader.refuse(CORE_LIMIT, "not a percentage", 'a quoted whole number from "1" to "100"', value=limit)
        return None
    if request is None:
        return None
    if request.whole:
        reader.warn(f"annotation {CORE_LIMIT}", "has no effect on whole GPUs", value=limit)
        return request
    ceiling = Percent(int(limit))
    if ceiling < request.cores:
        why = f"has no effect, because it is below {FIELDS.core} = {request.cores}"
        reader.warn(f"annotation {CORE_LIMIT}", why, f'"{request.cores}" to "100"', value=limit)
    if ceiling <= request.cores:
        return request
    return dataclasses.replace(request, policy=ComputePolicy.SOFT, ceiling=ceiling)


DIALECT = Dialect(name="tencent", title="Tencent vCUDA", resources=FIELDS.all, read=read)
