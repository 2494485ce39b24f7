"""Random calls of the driver API and of NVML on every GPU, for so many seconds; wrong arguments are among them.

churn.py <seconds> <seed>
"""

import ctypes
import json
import random
import sys
import time
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p

PTX = b""".version 7.0
.target sm_50
.address_size 64
.visible .entry unigpu_spin(.param .u64 ns) { ret; }
"""
MIB = 1 << 20
cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
chance = random.Random(int(sys.argv[2]))
calls: dict[str, int] = {}


class Gpu:
    """A context on one GPU, and what was made in it."""

    def __init__(self, number: int) -> None:
        self.context, self.function, module = c_void_p(), c_void_p(), c_void_p()
        self.handle = c_void_p()
        assert cuda.cuDevicePrimaryCtxRetain(byref(self.context), number) == 0
        assert cuda.cuCtxSetCurrent(self.context) == 0
        assert cuda.cuModuleLoadData(byref(module), PTX) == 0
        assert cuda.cuModuleGetFunction(byref(self.function), module, b"unigpu_spin") == 0
        assert nvml.nvmlDeviceGetHandleByIndex_v2(number, byref(self.handle)) == 0
        self.memory: list[tuple[int, str]] = []
        self.streams: list[int | None] = [None]
        self.events: list[int] = []
        self.graphs: list[int] = []

    def stream(self) -> c_void_p:
        return c_void_p(chance.choice(self.streams))

    def pointer(self) -> c_uint64:
        """One of this GPU's, or none at all."""
        return c_uint64(chance.choice(self.memory)[0] if self.memory and chance.random() < 0.95 else 0x1234)


def alloc(gpu: Gpu) -> int:
    pointer, size = c_uint64(), chance.choice((0, 100, 4096, MIB, 3 * MIB, 64 * MIB, 1 << 50))
    kind = chance.choice(("linear", "managed", "async"))
    if kind == "linear":
        status: int = cuda.cuMemAlloc_v2(byref(pointer), c_size_t(size))
    elif kind == "managed":
        status = cuda.cuMemAllocManaged(byref(pointer), c_size_t(size), 1)
    else:
        status = cuda.cuMemAllocAsync(byref(pointer), c_size_t(size), gpu.stream())
    if status == 0 and pointer.value:
        gpu.memory.append((pointer.value, kind))
    return status


def free(gpu: Gpu) -> int:
    if not gpu.memory:
        return int(cuda.cuMemFree_v2(c_uint64(chance.choice((0, 0x1000)))))
    pointer, kind = gpu.memory.pop(chance.randrange(len(gpu.memory)))
    if kind == "async":
        return int(cuda.cuMemFreeAsync(c_uint64(pointer), gpu.stream()))
    return int(cuda.cuMemFree_v2(c_uint64(pointer)))


def memset(gpu: Gpu) -> int:
    return int(cuda.cuMemsetD8Async(gpu.pointer(), 7, c_size_t(chance.choice((1, 100, 5 * MIB))), gpu.stream()))


def copy(gpu: Gpu) -> int:
    """Copy between allocations: other addresses are the host's, and reading those may crash on real GPUs, too."""
    if not gpu.memory:
        return 0
    size = c_size_t(chance.choice((1, 64, 4096)))
    first, second = (c_uint64(chance.choice(gpu.memory)[0]) for _ in range(2))
    return int(cuda.cuMemcpyAsync(first, second, size, gpu.stream()))


def launch(gpu: Gpu) -> int:
    length = c_uint64(chance.choice((100, 2000, 50000)))
    parameters = (c_void_p * 1)(ctypes.addressof(length))
    grid, block = chance.choice((0, 1, 1000)), chance.choice((1, 256, 4096))
    return int(cuda.cuLaunchKernel(gpu.function, grid, 1, 1, block, 1, 1, 0, gpu.stream(), parameters, None))


def stream(gpu: Gpu) -> int:
    made = c_void_p()
    if len(gpu.streams) > 8:
        return int(cuda.cuStreamDestroy_v2(c_void_p(gpu.streams.pop())))
    status: int = cuda.cuStreamCreate(byref(made), chance.choice((0, 1)))
    if status == 0:
        gpu.streams.append(made.value)
    return status


def event(gpu: Gpu) -> int:
    made = c_void_p()
    if len(gpu.events) > 8:
        return int(cuda.cuEventDestroy_v2(c_void_p(gpu.events.pop(0))))
    assert cuda.cuEventCreate(byref(made), chance.choice((0, 2))) == 0
    assert made.value
    gpu.events.append(made.value)
    return int(cuda.cuEventRecord(made, gpu.stream()))


def wait(gpu: Gpu) -> int:
    if gpu.events and chance.random() < 0.5:
        return int(cuda.cuStreamWaitEvent(gpu.stream(), c_void_p(chance.choice(gpu.events)), 0))
    return int(chance.choice((cuda.cuStreamSynchronize, cuda.cuStreamQuery))(gpu.stream()))


def capture(gpu: Gpu) -> int:
    own, graph, made = c_void_p(), c_void_p(), c_void_p()
    assert cuda.cuStreamCreate(byref(own), 1) == 0
    cuda.cuStreamBeginCapture_v2(own, 1)
    length = c_uint64(1000)
    parameters = (c_void_p * 1)(ctypes.addressof(length))
    for _ in range(chance.randrange(4)):
        cuda.cuLaunchKernel(gpu.function, 1, 1, 1, 1, 1, 1, 0, own, parameters, None)
    status: int = cuda.cuStreamEndCapture(own, byref(graph))
    if status == 0 and graph:
        assert cuda.cuGraphInstantiateWithFlags(byref(made), graph, c_ulonglong(0)) == 0
        cuda.cuGraphLaunch(made, gpu.stream())
        cuda.cuGraphExecDestroy(made)
        cuda.cuGraphDestroy(graph)
    cuda.cuStreamDestroy_v2(own)
    return status


def advise(gpu: Gpu) -> int:
    """Say something of a range of managed memory, or of memory that isn't managed, and ask for it."""
    start, size = gpu.pointer(), c_size_t(chance.choice((1, 4096, MIB)))
    cuda.cuMemAdvise_v2(start, size, chance.randrange(8), c_uint64(chance.choice((1, 2, 1 | 1 << 32))))
    return int(cuda.cuMemRangeGetAttribute((c_int * 2)(), c_size_t(8), 3, start, size))


def green(gpu: Gpu) -> int:
    """Work in a part of the GPU, and streams that outlive the part."""
    whole, made, description = ctypes.create_string_buffer(144), c_void_p(), c_void_p()
    parts, count, number = ctypes.create_string_buffer(4 * 144), c_uint(chance.choice((0, 1, 4))), c_int()
    ok = cuda.cuCtxGetDevice(byref(number)) == cuda.cuDeviceGetDevResource(number, whole, 1) == 0
    status: int = cuda.cuDevSmResourceSplitByCount(parts, byref(count), whole, None, 0, chance.choice((2, 30, 1000)))
    if not ok or status or not count.value:
        return status
    assert cuda.cuDevResourceGenerateDesc(byref(description), parts, 1) == 0
    assert cuda.cuGreenCtxCreate(byref(made), description, number, 1) == 0
    name, own, length = c_void_p(), c_void_p(), c_uint64(20000)
    assert cuda.cuGreenCtxStreamCreate(byref(own), made, 1, 0) == 0
    assert cuda.cuCtxFromGreenCtx(byref(name), made) == cuda.cuCtxPushCurrent_v2(name) == 0
    parameters = (c_void_p * 1)(ctypes.addressof(length))
    cuda.cuLaunchKernel(gpu.function, 1, 1, 1, 1, 1, 1, 0, own, parameters, None)
    if gpu.events:
        cuda.cuGreenCtxRecordEvent(made, c_void_p(chance.choice(gpu.events)))
        cuda.cuGreenCtxWaitEvent(made, c_void_p(chance.choice(gpu.events)))
    early = chance.random() < 0.5
    if early:
        assert cuda.cuStreamDestroy_v2(own) == 0
    assert cuda.cuCtxPopCurrent_v2(None) == cuda.cuGreenCtxDestroy(made) == 0
    return 0 if early else int(cuda.cuStreamQuery(own)) + int(cuda.cuStreamDestroy_v2(own))


def graph_memory(gpu: Gpu) -> int:
    """A graph that allocates and frees, in pieces that stand on each other."""
    own, graph, made = c_void_p(), c_void_p(), c_void_p()
    assert cuda.cuStreamCreate(byref(own), 1) == cuda.cuStreamBeginCapture_v2(own, 2) == 0
    held: list[c_uint64] = []
    for _ in range(chance.randrange(1, 8)):
        if held and chance.random() < 0.5:
            assert cuda.cuMemFreeAsync(held.pop(), own) == 0
        else:
            held.append(c_uint64())
            assert cuda.cuMemAllocAsync(byref(held[-1]), c_size_t(chance.choice((1, 3, 8)) * MIB), own) == 0
    for each in held:
        assert cuda.cuMemFreeAsync(each, own) == 0
    assert cuda.cuStreamEndCapture(own, byref(graph)) == 0
    assert cuda.cuGraphInstantiateWithFlags(byref(made), graph, c_ulonglong(0)) == 0
    where = gpu.stream()
    statuses = [int(cuda.cuGraphLaunch(made, where)) for _ in range(2)]
    cuda.cuGraphExecDestroy(made)
    cuda.cuGraphDestroy(graph)
    cuda.cuStreamDestroy_v2(own)
    return max(statuses)


def share(gpu: Gpu) -> int:
    """An event for other processes, made, recorded, waited for and ended."""
    made, handle = c_void_p(), ctypes.create_string_buffer(64)
    assert cuda.cuEventCreate(byref(made), 6) == cuda.cuIpcGetEventHandle(handle, made) == 0
    cuda.cuEventRecord(made, gpu.stream())
    cuda.cuStreamWaitEvent(gpu.stream(), made, 0)
    return int(cuda.cuEventDestroy_v2(made))


def ask(gpu: Gpu) -> int:
    text, words, count = ctypes.create_string_buffer(4096), (c_ulonglong * 8)(), c_uint(64)
    name = chance.choice(("MemoryInfo", "UtilizationRates", "PowerUsage", "UUID", "ComputeRunningProcesses_v3"))
    call = getattr(nvml, f"nvmlDeviceGet{name}")
    if name == "UUID":
        return int(call(gpu.handle, text, chance.choice((4, 96))))
    return int(call(gpu.handle, byref(count), text) if name.startswith("Compute") else call(gpu.handle, words))


ACTIONS: tuple[Callable[[Gpu], int], ...] = (
    *(alloc, free, memset, copy, launch, stream, event, wait, capture, ask),
    *(advise, green, graph_memory, share),
)
assert cuda.cuInit(0) == nvml.nvmlInit_v2() == 0
number = c_int()
assert cuda.cuDeviceGetCount(byref(number)) == 0
gpus = [Gpu(each) for each in range(number.value)]
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    gpu = chance.choice(gpus)
    assert cuda.cuCtxSetCurrent(gpu.context) == 0
    for _ in range(50):
        action = chance.choice(ACTIONS)
        outcome = f"{action.__name__} {action(gpu)}"
        calls[outcome] = calls.get(outcome, 0) + 1
for gpu in gpus:
    assert cuda.cuCtxSetCurrent(gpu.context) == cuda.cuCtxSynchronize() == 0
    while gpu.memory:
        assert free(gpu) == 0
    assert cuda.cuCtxSynchronize() == cuda.cuDeviceGraphMemTrim(gpus.index(gpu)) == 0
print(json.dumps(calls))
