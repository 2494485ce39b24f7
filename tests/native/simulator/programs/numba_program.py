"""A program for numba-cuda: arrays, a compiled kernel, streams, events, out of memory. Prints what it saw as JSON."""

import json
import warnings
from typing import Any

import numpy
from numba import cuda
from numba.core.errors import NumbaPerformanceWarning

warnings.simplefilter("ignore", NumbaPerformanceWarning)


@cuda.jit
def add_one(values: Any) -> None:
    index = cuda.grid(1)
    if index < values.size:
        values[index] += 1


memory = cuda.current_context().get_memory_info()
given = numpy.arange(1000, dtype=numpy.float32)
there = cuda.to_device(given)
stream, event = cuda.stream(), cuda.event()
back = there.copy_to_host(stream=stream)
event.record(stream)
event.synchronize()
fresh = cuda.device_array((1024, 1024), dtype=numpy.float64)
add_one[10, 128](there)
cuda.synchronize()
kept, error = [], ""
try:
    while True:
        kept.append(cuda.device_array(1 << 30, dtype=numpy.uint8))
except cuda.cudadrv.driver.CudaAPIError as refused:
    error = str(refused)
print(
    json.dumps(
        {
            "total": memory.total,
            "same": bool((back == given).all()),
            "zero": float(fresh.copy_to_host().sum()),
            "gibibytes": len(kept),
            "error": error,
        }
    )
)
