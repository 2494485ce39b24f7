"""A numba-cuda program that keeps its GPU busy, and prints its limits: a line of JSON every 20 ms.

`at`: seconds since the epoch. `charged`: GPU time of its container, ns. `total`: bytes of memory by the driver. After
each change of `total`, also `some` and `more`: the driver's answers to allocating a quarter of it, and more than all of
it; and `seconds`: how long these allocations took.
"""

import json
import mmap
import struct
import time
import warnings
from pathlib import Path
from typing import Any

import numpy
from numba import cuda
from numba.core.errors import NumbaPerformanceWarning

warnings.simplefilter("ignore", NumbaPerformanceWarning)
CHARGED = 1152 + 16
BATCH = 0.02


@cuda.jit
def work(values: Any) -> None:
    index = cuda.grid(1)
    if index < values.size:
        values[index] += 1


def attempt(size: int) -> str:
    """Return the driver's answer to an allocation, which isn't kept."""
    try:
        cuda.device_array(size, dtype=numpy.uint8)
    except cuda.cudadrv.driver.CudaAPIError as refused:
        return str(refused)
    return "given"


def main() -> None:
    values = cuda.device_array(1 << 20, dtype=numpy.float32)
    context = cuda.current_context()
    with Path("/usr/local/unigpu/usage").open("rb") as file:
        account = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)
    before = 0
    while True:
        until = time.monotonic() + BATCH
        while time.monotonic() < until:
            work[40000, 1024](values)
        total = context.get_memory_info().total
        (charged,) = struct.unpack_from("<Q", account, CHARGED)
        line = {"at": time.time(), "charged": charged, "total": total}
        if total != before:
            before = total
            line |= {"some": attempt(total // 4), "more": attempt(total + (64 << 20))}
            context.deallocations.clear()
            line["seconds"] = time.time() - line["at"]
        print(json.dumps(line), flush=True)


main()
