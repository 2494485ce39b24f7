"""What steps do in processes of their own. Each function prints one JSON object when it is ready."""

import json
import os
import random
import sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, Final

from gpucheck import driver
from gpucheck.driver import MIB


def tell(**answer: Any) -> None:
    """Print an answer for the parent."""
    print(json.dumps(answer), flush=True)


def context() -> None:
    """Hold a context until the parent closes stdin."""
    cuda = driver.Cuda()
    tell(pid=os.getpid(), free=cuda.free())
    sys.stdin.read()


def own_pid() -> None:
    """Tell which pids NVML lists to a process with a context."""
    cuda, nvml = driver.Cuda(), driver.Nvml()
    tell(pid=os.getpid(), listed=sorted(nvml.processes()), free=cuda.free())


def _linear(cuda: driver.Cuda, size: int) -> int:
    return cuda.status("cuMemAlloc_v2", byref(c_uint64()), c_size_t(size))


def _stream_ordered(cuda: driver.Cuda, size: int) -> int:
    return cuda.status("cuMemAllocAsync", byref(c_uint64()), c_size_t(size), None)


def _managed(cuda: driver.Cuda, size: int) -> int:
    return cuda.status("cuMemAllocManaged", byref(c_uint64()), c_size_t(size), 1)


def _physical(cuda: driver.Cuda, size: int) -> int:
    pinned, device = 1, 1
    properties = (c_int * 8)(pinned, 0, device, 0)
    return cuda.status("cuMemCreate", byref(c_uint64()), c_size_t(size), properties, c_uint64(0))


def _pitched(cuda: driver.Cuda, size: int) -> int:
    row = MIB
    return cuda.status(
        "cuMemAllocPitch_v2", byref(c_uint64()), byref(c_size_t()), c_size_t(row), c_size_t(size // row), 4
    )


ALLOCATORS: Final = {
    "cuMemAlloc": _linear,
    "cuMemAllocAsync": _stream_ordered,
    "cuMemAllocManaged": _managed,
    "cuMemCreate": _physical,
    "cuMemAllocPitch": _pitched,
}


def fill(allocator: str) -> None:
    """Allocate 256 MiB at a time until it is refused; tell how much was had, by whom, and with which error."""
    cuda, nvml = driver.Cuda(), driver.Nvml()
    had, status = 0, 0
    while status == 0 and had < 1 << 40:
        status = ALLOCATORS[allocator](cuda, 256 * MIB)
        had += 0 if status else 256 * MIB
    cuda.status("cuCtxSynchronize")
    tell(had=had, status=status, free=cuda.free(), listed=nvml.processes().get(os.getpid(), 0))


def churn(count: str) -> None:
    """Make random allocations and free them; tell the account and NVML's figure before, at the end and after."""
    cuda, nvml, chance = driver.Cuda(), driver.Nvml(), random.Random(7)
    start = cuda.free()
    account = nvml.processes().get(os.getpid(), 0)
    held: list[int] = []
    for _ in range(int(count)):
        if held and chance.random() < 0.5:
            cuda.release(held.pop(chance.randrange(len(held))))
        elif pointer := cuda.alloc(chance.choice((256, 4096, 65536, MIB, 3 * MIB, 16 * MIB))):
            held.append(pointer)
    middle = {"account": start - cuda.free(), "listed": nvml.processes().get(os.getpid(), 0) - account}
    for pointer in held:
        cuda.release(pointer)
    tell(held=len(held), **middle, left=start - cuda.free())


def launches() -> None:
    """Launch an empty kernel and wait for it."""
    cuda = driver.Cuda()
    kernel = cuda.kernel()
    for _ in range(100):
        cuda.launch(kernel)
    event = c_void_p()
    cuda.call("cuEventCreate", byref(event), 0)
    cuda.call("cuEventRecord", event, None)
    cuda.call("cuEventSynchronize", event)
    tell(done=True, total=cuda.total())


CHILDREN: Final = {each.__name__: each for each in (context, own_pid, fill, churn, launches)}
