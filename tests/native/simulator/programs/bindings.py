"""A program for NVIDIA's cuda-bindings: copies, streams, events, graphs, out of memory. Prints what it saw as JSON."""

import ctypes
import json
import threading
import time
from typing import Any

import numpy
from cuda.bindings import driver

PTX = b"""
.version 8.0
.target sm_80
.address_size 64
.visible .global .align 4 .b8 table[400];
.visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }
.visible .entry work(.param .u64 to, .param .u32 count, .param .align 8 .b8 shape[24]) { ret; }
"""


def ok(answer: Any) -> Any:
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer[0]
    return answer[1] if len(answer) == 2 else answer[1:]


ok(driver.cuInit(0))
device = ok(driver.cuDeviceGet(0))
context = ok(driver.cuDevicePrimaryCtxRetain(device))
ok(driver.cuCtxSetCurrent(context))
module = ok(driver.cuModuleLoadData(PTX))
spin = ok(driver.cuModuleGetFunction(module, b"unigpu_spin"))
work = ok(driver.cuModuleGetFunction(module, b"work"))
seen = {
    "global_bytes": ok(driver.cuModuleGetGlobal(module, b"table"))[1],
    # New in CUDA 12.4; older drivers don't know it.
    "parameters": [list(ok(driver.cuFuncGetParamInfo(work, index))) for index in range(3)]
    if ok(driver.cuDriverGetVersion()) >= 12040
    else None,
}


def launch(milliseconds: Any, stream: Any) -> Any:
    value = numpy.array([int(milliseconds * 1e6)], dtype=numpy.uint64)
    pointers = numpy.array([value.ctypes.data], dtype=numpy.uint64)
    ok(driver.cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, pointers.ctypes.data, 0))


def read(pointer: Any, count: Any) -> Any:
    host = numpy.empty(count, dtype=numpy.uint8)
    ok(driver.cuMemcpyDtoH(host.ctypes.data, pointer, count))
    return host


first, second = (ok(driver.cuStreamCreate(1)) for _ in range(2))
start, middle, end = (ok(driver.cuEventCreate(0)) for _ in range(3))

# Two streams, one GPU: the second kernel begins when the first has ended.
ok(driver.cuEventRecord(start, first))
launch(250, first)
ok(driver.cuEventRecord(middle, first))
launch(20, second)
ok(driver.cuEventRecord(end, second))
seen["busy"] = [int(driver.cuStreamQuery(first)[0]), int(driver.cuEventQuery(end)[0])]
ok(driver.cuEventSynchronize(end))
seen["first_ms"] = ok(driver.cuEventElapsedTime(start, middle))
seen["both_ms"] = ok(driver.cuEventElapsedTime(start, end))

# A capture refuses what it cannot hold, and is invalid after it.
ok(driver.cuStreamBeginCapture(first, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL))
seen["alloc_in_capture"] = int(driver.cuMemAlloc(100)[0])
seen["invalid"] = int(driver.cuStreamEndCapture(first)[0])

# A graph over two streams, with memory that lives inside it.
memory = ok(driver.cuMemAlloc(1 << 20))
seen["zero"] = int(read(memory, 1 << 20).sum())
ok(driver.cuStreamBeginCapture(first, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL))
launch(10, first)
ok(driver.cuMemsetD8Async(memory, 7, 1 << 20, first))
ok(driver.cuEventRecord(middle, first))
ok(driver.cuStreamWaitEvent(second, middle, 0))
launch(5, second)
ok(driver.cuEventRecord(end, second))
ok(driver.cuStreamWaitEvent(first, end, 0))
inner = ok(driver.cuMemAllocAsync(64 << 20, first))
ok(driver.cuMemFreeAsync(inner, first))
graph = ok(driver.cuStreamEndCapture(first))
seen["nodes"] = ok(driver.cuGraphGetNodes(graph, 0))[1]
seen["not_yet"] = int(read(memory, 16).sum())
ready = ok(driver.cuGraphInstantiate(graph, 0))
before = ok(driver.cuMemGetInfo())[0]
began = time.monotonic()
for _ in range(3):
    ok(driver.cuGraphLaunch(ready, first))
ok(driver.cuStreamSynchronize(first))
seen["graph_ms"] = (time.monotonic() - began) * 1000
ok(driver.cuDeviceGraphMemTrim(0))  # until then the device keeps it for the next launch
seen["graph_leak"] = before - ok(driver.cuMemGetInfo())[0]
seen["sevens"] = int(read(memory, 1 << 20).sum())
ok(driver.cuGraphExecDestroy(ready))
ok(driver.cuGraphDestroy(graph))

# Work behind a host function waits for it; the host does not.
gate, called = threading.Event(), []
hook = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: called.append(gate.wait(30)))
ok(driver.cuLaunchHostFunc(first, driver.CUhostFn(ctypes.cast(hook, ctypes.c_void_p).value), 0))
ok(driver.cuMemsetD8Async(memory, 9, 1 << 20, first))
ok(driver.cuEventRecord(end, first))
seen["behind"] = [int(driver.cuStreamQuery(first)[0]), int(driver.cuEventQuery(end)[0])]
gate.set()
ok(driver.cuEventSynchronize(end))
seen["called"] = called
seen["nines"] = int(read(memory, 1 << 20).sum())

seen["refused"] = [
    int(driver.cuMemAlloc(1 << 40)[0]),
    int(driver.cuMemAlloc(0)[0]),
    int(driver.cuMemFree(12345)[0]),
    int(driver.cuMemcpyDtoH(0, memory, 4)[0]),
    int(driver.cuMemsetD8(memory, 1, (1 << 20) + 1)[0]),
    int(driver.cuModuleLoadData(b"no image")[0]),
    int(driver.cuModuleGetFunction(module, b"nobody")[0]),
    int(driver.cuLaunchKernel(spin, 1, 1, 1, 2048, 1, 1, 0, first, 0, 0)[0]),
]
ok(driver.cuCtxSynchronize())
ok(driver.cuDevicePrimaryCtxRelease(device))
print(json.dumps(seen))
