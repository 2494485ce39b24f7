"""What the steps of part C do in processes of their own: captures among threads, kinds of streams, faults."""

import ctypes
import os
import sys
import threading
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from typing import Final

from gpucheck import driver
from gpucheck.children import tell
from gpucheck.children_b import Spinner
from gpucheck.driver import HEADER, MIB

THREAD_LOCAL: Final = 1
NULL_STORE: Final = HEADER + b".visible .entry fault() { .reg .u64 %r; mov.u64 %r, 8; st.global.u64 [%r], %r; ret; }\n"
TRAP: Final = HEADER + b".visible .entry fault() { trap; ret; }\n"
XID: Final = 8


def captures(rounds: str) -> None:
    """Capture graphs while two threads launch and allocate; tell which calls failed, by name and error."""
    cuda = driver.Cuda()
    spinner, stop = Spinner(cuda), threading.Event()
    failed: dict[str, int] = {}

    def note(name: str, status: int) -> None:
        if status:
            failed[f"{name} {status}"] = failed.get(f"{name} {status}", 0) + 1

    def launching() -> None:
        cuda.call("cuCtxSetCurrent", cuda.context)
        stream = c_void_p()
        cuda.call("cuStreamCreate", byref(stream), 1)
        own = Spinner(cuda)
        while not stop.is_set():
            note("launch", own.launched(1000, stream))
            note("cuStreamSynchronize", cuda.status("cuStreamSynchronize", stream))

    def allocating() -> None:
        cuda.call("cuCtxSetCurrent", cuda.context)
        while not stop.is_set():
            pointer = c_uint64()
            note("cuMemAlloc", cuda.status("cuMemAlloc_v2", byref(pointer), c_size_t(3 * MIB)))
            note("cuMemFree", cuda.status("cuMemFree_v2", pointer))

    threads = [threading.Thread(target=each) for each in (launching, allocating)]
    for thread in threads:
        thread.start()
    stream = c_void_p()
    cuda.call("cuStreamCreate", byref(stream), 1)
    for _ in range(int(rounds)):
        graph, made = c_void_p(), c_void_p()
        note("cuStreamBeginCapture", cuda.status("cuStreamBeginCapture_v2", stream, THREAD_LOCAL))
        for _ in range(3):
            note("launch in a capture", spinner.launched(1000, stream))
        note("cuStreamEndCapture", cuda.status("cuStreamEndCapture", stream, byref(graph)))
        if graph:
            note("cuGraphInstantiate", cuda.status("cuGraphInstantiateWithFlags", byref(made), graph, c_ulonglong(0)))
            note("cuGraphLaunch", cuda.status("cuGraphLaunch", made, stream))
            note("cuStreamSynchronize", cuda.status("cuStreamSynchronize", stream))
            cuda.status("cuGraphExecDestroy", made)
            cuda.status("cuGraphDestroy", graph)
    stop.set()
    for thread in threads:
        thread.join()
    tell(failed=failed)


class _Config(ctypes.Structure):
    _fields_ = (
        ("grid", c_uint * 3),
        ("block", c_uint * 3),
        ("shared", c_uint),
        ("stream", c_void_p),
        ("attributes", c_void_p),
        ("count", c_uint),
    )


def streams() -> None:
    """Launch by each kind of stream and launch; tell the error of each."""
    cuda = driver.Cuda()
    kernel, found = cuda.kernel(), {}
    for name, suffix in (("legacy", ""), ("per thread", "_ptsz")):
        found[name] = cuda.status(f"cuLaunchKernel{suffix}", kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
    for name, flags in (("blocking", 0), ("non-blocking", 1)):
        stream = c_void_p()
        cuda.call("cuStreamCreate", byref(stream), flags)
        found[name] = cuda.launched(kernel, stream=stream)
    stream = c_void_p()
    cuda.call("cuStreamCreateWithPriority", byref(stream), 1, -1)
    found["priority"] = cuda.launched(kernel, stream=stream)
    programmatic = 6
    attribute = (c_uint * 18)(programmatic, 0, 1)  # CUlaunchAttribute: a number, 4 bytes of padding, 64 of value
    config = _Config((1, 1, 1), (1, 1, 1), 0, stream, ctypes.cast(attribute, c_void_p), 1)
    found["programmatic"] = cuda.status("cuLaunchKernelEx", byref(config), kernel, None, None)
    found["cooperative"] = cuda.status("cuLaunchCooperativeKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, None)
    found["synchronize"] = cuda.status("cuCtxSynchronize")
    tell(found=found, green=green(cuda))


def green(cuda: driver.Cuda) -> list[int]:
    """Make a green context of all multiprocessors and launch in it; return the error of each call."""
    resource, description, context, stream = (ctypes.c_char * 144)(), c_void_p(), c_void_p(), c_void_p()
    if not hasattr(cuda.library, "cuGreenCtxCreate"):
        return []
    found = [cuda.status("cuDeviceGetDevResource", 0, byref(resource), 1)]
    found.append(cuda.status("cuDevResourceGenerateDesc", byref(description), byref(resource), 1))
    found.append(cuda.status("cuGreenCtxCreate", byref(context), description, 0, 1))
    if not found[-1]:
        found.append(cuda.status("cuGreenCtxStreamCreate", byref(stream), context, 1, 0))
        found.append(cuda.launched(cuda.kernel(), stream=stream))
        found.append(cuda.status("cuStreamSynchronize", stream))
    return found


def hold(mib: str) -> None:
    """Hold memory and launch without end; tell it once, and count launches at each line on stdin."""
    cuda = driver.Cuda()
    cuda.alloc(int(mib) * MIB)
    kernel, count = cuda.kernel(), 0
    tell(pid=os.getpid(), free=cuda.free())

    def telling() -> None:
        while sys.stdin.readline():
            tell(launches=count)
        os._exit(0)

    threading.Thread(target=telling, daemon=True).start()
    while True:
        cuda.launch(kernel)
        cuda.call("cuCtxSynchronize")
        count += 1


def begin() -> None:
    """Tell the error of making a context."""
    cuda, context = driver.Cuda(context=False), c_void_p()
    tell(status=cuda.status("cuDevicePrimaryCtxRetain", byref(context), 0))
    sys.stdin.readline()


class _Event(ctypes.Structure):
    _fields_ = (
        ("device", c_void_p),
        ("kind", c_ulonglong),
        ("data", c_ulonglong),
        ("gpu_instance", c_uint),
        ("compute_instance", c_uint),
    )


def fault(kind: str) -> None:
    """Launch a kernel that stores to nowhere or traps; tell its error, and the XIDs that NVML reports."""
    cuda, nvml, events = driver.Cuda(), driver.Nvml(), c_void_p()
    spinner = Spinner(cuda)
    spinner.spin(1000)
    summed = c_uint64()
    cuda.call("cuCtxSynchronize")
    cuda.call("cuMemcpyDtoH_v2", byref(summed), c_uint64(spinner.sum), c_size_t(8))
    driver.check("nvmlEventSetCreate", nvml.library.nvmlEventSetCreate(byref(events)))
    registered = nvml.library.nvmlDeviceRegisterEvents(nvml.device, c_ulonglong(XID), events)
    if not summed.value or registered:
        tell(instructions=bool(summed.value), events=registered)
        return
    cuda.launched(cuda.kernel(TRAP if kind == "trap" else NULL_STORE, b"fault"))
    status, xids, event = cuda.status("cuCtxSynchronize"), [], _Event()
    while nvml.library.nvmlEventSetWait_v2(events, byref(event), 3000) == 0:
        xids.append(event.data)
    tell(instructions=True, events=0, status=status, xids=xids)


def opencl(mib: str) -> None:
    """Take memory by OpenCL, piece by piece; tell how much was had."""
    library, platform, device, error = ctypes.CDLL("libOpenCL.so.1"), c_void_p(), c_void_p(), c_int()
    gpu = c_ulonglong(4)
    if library.clGetPlatformIDs(1, byref(platform), None) or library.clGetDeviceIDs(
        platform, gpu, 1, byref(device), None
    ):
        tell(had=None)
        return
    for name in ("clCreateContext", "clCreateBuffer", "clCreateCommandQueue"):
        getattr(library, name).restype = c_void_p
    context = c_void_p(library.clCreateContext(None, 1, byref(device), None, None, byref(error)))
    queue = c_void_p(library.clCreateCommandQueue(context, device, c_ulonglong(0), byref(error)))
    had, byte = 0, ctypes.create_string_buffer(1)
    while had < int(mib):
        piece = c_void_p(library.clCreateBuffer(context, c_ulonglong(1), c_size_t(256 * MIB), None, byref(error)))
        if not piece or library.clEnqueueWriteBuffer(queue, piece, 1, c_size_t(0), c_size_t(1), byte, 0, None, None):
            break
        had += 256
    tell(had=had)


def pageable() -> None:
    """Tell whether kernels may use the host's ordinary memory (HMM)."""
    cuda, found = driver.Cuda(context=False), c_int()
    tell(status=cuda.status("cuDeviceGetAttribute", byref(found), 88, 0), pageable=found.value)


CHILDREN: Final = {each.__name__: each for each in (captures, streams, hold, begin, fault, opencl, pageable)}
