"""How long the smallest things take: prints as JSON what launches, records and events showed."""

import ctypes
import json
import time
from collections.abc import Callable
from ctypes import byref, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
PTX = b""".version 8.0
.target sm_80
.address_size 64
.visible .entry nothing() { ret; }
"""
TIMES, NOT_READY = 1000, 600


def ok(status: int) -> None:
    assert status == 0, status


def per_call(call: Callable[[], int]) -> int:
    """Nanoseconds that a call costs the host, at least."""
    shortest = []
    for _ in range(TIMES):
        began = time.monotonic_ns()
        ok(call())
        shortest.append(time.monotonic_ns() - began)
    return min(shortest)


ok(cuda.cuInit(0))
context, module, function, event = c_void_p(), c_void_p(), c_void_p(), c_void_p()
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
ok(cuda.cuModuleLoadData(byref(module), PTX))
ok(cuda.cuModuleGetFunction(byref(function), module, b"nothing"))
ok(cuda.cuEventCreate(byref(event), 0))
seen = {
    "launch_ns": per_call(lambda: cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, None, None, None)),
    "record_ns": per_call(lambda: cuda.cuEventRecord(event, None)),
    "not_ready": 0,
}
for _ in range(TIMES):
    ok(cuda.cuCtxSynchronize())
    ok(cuda.cuEventRecord(event, None))
    seen["not_ready"] += cuda.cuEventQuery(event) == NOT_READY
    ok(cuda.cuEventSynchronize(event))
    ok(cuda.cuEventQuery(event))
print(json.dumps(seen))
