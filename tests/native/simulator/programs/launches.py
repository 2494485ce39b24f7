"""Every way to launch, the per-thread twins, and memory passed on as a file descriptor. Prints what it saw as JSON.

With two words, a file descriptor and a size, it is the process that the memory is passed on to.
"""

import ctypes
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy
from cuda.bindings import driver

PTX = b""".version 8.0
.target sm_80
.address_size 64
.visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }
.visible .entry nothing() { ret; }
"""
SIZE = 4 << 20
FILE = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR


class Config(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("count", ctypes.c_uint),
    ]


def ok(answer: Any) -> Any:
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer[0]
    return answer[1] if len(answer) == 2 else answer[1:]


def mapped(handle: Any, size: int) -> Any:
    address = ok(driver.cuMemAddressReserve(size, 0, 0, 0))
    ok(driver.cuMemMap(address, size, 0, handle, 0))
    access = driver.CUmemAccessDesc()
    access.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    access.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    ok(driver.cuMemSetAccess(address, size, [access], 1))
    return address


def first_byte(address: Any) -> int:
    host = numpy.zeros(1, dtype=numpy.uint8)
    ok(driver.cuMemcpyDtoH(host.ctypes.data, address, 1))
    return int(host[0])


def importer(file: int, size: int) -> None:
    handle = ok(driver.cuMemImportFromShareableHandle(file, FILE))
    address = mapped(handle, size)
    print(first_byte(address))
    ok(driver.cuMemsetD8(address, 9, size))
    ok(driver.cuCtxSynchronize())


def exporter() -> list[int]:
    wanted = driver.CUmemAllocationProp()
    wanted.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    wanted.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    wanted.requestedHandleTypes = FILE
    handle = ok(driver.cuMemCreate(SIZE, wanted, 0))
    address = mapped(handle, SIZE)
    ok(driver.cuMemsetD8(address, 5, SIZE))
    ok(driver.cuCtxSynchronize())
    file = int(ok(driver.cuMemExportToShareableHandle(handle, FILE, 0)))
    other = [sys.executable, __file__, str(file), str(SIZE)]
    read = subprocess.run(other, pass_fds=[file], check=True, capture_output=True, text=True).stdout
    return [int(read), first_byte(address)]


def per_thread_twins(function: Any, launches: Sequence[str]) -> list[list[int]]:
    """After each launch to this thread's own default stream: whether this thread's is busy, and another thread's."""
    cuda = ctypes.CDLL("libcuda.so.1")
    milliseconds = ctypes.c_uint64(100_000_000)
    values = (ctypes.c_void_p * 1)(ctypes.addressof(milliseconds))
    config = Config(1, 1, 1, 1, 1, 1, 0, None, None, 0)
    entry = ctypes.c_void_p(int(function))
    shape = (1, 1, 1, 1, 1, 1, 0, None)
    seen = []
    for name in launches:
        call = getattr(cuda, name)
        if "Ex" in name:
            status = call(ctypes.byref(config), entry, values, None)
        elif "Cooperative" in name:
            status = call(entry, *shape, values)
        else:
            status = call(entry, *shape, values, None)
        others: list[int] = []

        def elsewhere(others: list[int] = others) -> None:
            ok(driver.cuCtxSetCurrent(context))
            others.append(cuda.cuStreamQuery_ptsz(None))

        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
        seen.append([status, cuda.cuStreamQuery_ptsz(None), *others, cuda.cuStreamSynchronize_ptsz(None)])
    return seen


def changed_while_it_waits(function: Any) -> list[int]:
    """Whole milliseconds of a graph's launch, and of its next one with another kernel, set while the first waits."""
    stream = ok(driver.cuStreamCreate(1))
    events = [ok(driver.cuEventCreate(0)) for _ in range(3)]
    times = [ctypes.c_uint64(milliseconds * 1_000_000) for milliseconds in (20, 5, 200)]
    values = [(ctypes.c_void_p * 1)(ctypes.addressof(time)) for time in times]
    kernels = [driver.CUDA_KERNEL_NODE_PARAMS() for _ in range(2)]
    for kernel, value in zip(kernels, values, strict=False):
        kernel.func, kernel.kernelParams = function, ctypes.addressof(value)
        kernel.gridDimX = kernel.gridDimY = kernel.gridDimZ = 1
        kernel.blockDimX = kernel.blockDimY = kernel.blockDimZ = 1
    graph = ok(driver.cuGraphCreate(0))
    node = ok(driver.cuGraphAddKernelNode(graph, None, 0, kernels[0]))
    ready = ok(driver.cuGraphInstantiate(graph, 0))
    ok(driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, ctypes.addressof(values[2]), 0))
    ok(driver.cuEventRecord(events[0], stream))
    ok(driver.cuGraphLaunch(ready, stream))
    ok(driver.cuEventRecord(events[1], stream))
    ok(driver.cuGraphExecKernelNodeSetParams(ready, node, kernels[1]))
    ok(driver.cuGraphLaunch(ready, stream))
    ok(driver.cuEventRecord(events[2], stream))
    ok(driver.cuGraphExecDestroy(ready))
    ok(driver.cuStreamSynchronize(stream))
    return [round(ok(driver.cuEventElapsedTime(*events[i : i + 2]))) for i in range(2)]


ok(driver.cuInit(0))
context = ok(driver.cuDevicePrimaryCtxRetain(0))
ok(driver.cuCtxSetCurrent(context))
if len(sys.argv) == 3:
    importer(int(sys.argv[1]), int(sys.argv[2]))
    sys.exit()
module = ok(driver.cuModuleLoadData(PTX))
nothing = ok(driver.cuModuleGetFunction(module, b"nothing"))
spin = ok(driver.cuModuleGetFunction(module, b"unigpu_spin"))
most = ok(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(nothing, 1024, 0)) * ok(
    driver.cuDeviceGetAttribute(driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0)
)
config = driver.CUlaunchConfig()
config.gridDimX, config.gridDimY, config.gridDimZ = most + 1, 1, 1
config.blockDimX, config.blockDimY, config.blockDimZ = 1024, 1, 1
plain = int(driver.cuLaunchKernelEx(config, nothing, 0, 0)[0])
together = driver.CUlaunchAttribute()
together.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
together.value.cooperative = 1
config.attrs, config.numAttrs = [together], 1
seen = {
    "cooperative": [
        int(driver.cuLaunchCooperativeKernel(nothing, blocks, 1, 1, 1024, 1, 1, 0, 0, 0)[0])
        for blocks in (most, most + 1)
    ],
    "extended": [plain, int(driver.cuLaunchKernelEx(config, nothing, 0, 0)[0])],
    "twins": per_thread_twins(spin, ["cuLaunchKernel_ptsz", "cuLaunchKernelEx_ptsz", "cuLaunchCooperativeKernel_ptsz"]),
    "passed_on": exporter(),
    "changed": changed_while_it_waits(spin),
}
print(json.dumps(seen))
