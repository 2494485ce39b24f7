"""What the steps of part B do in processes of their own: kernels of known length, loads, and kinds of memory."""

import ctypes
import os
import select
import sys
import time
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Final

from gpucheck import driver
from gpucheck.children import tell
from gpucheck.driver import MIB

THREADS: Final = 1024
"""Of a block."""


class Spinner:
    """A kernel that takes the whole GPU for a given time by its own clock, and adds up the time that it took."""

    def __init__(self, cuda: driver.Cuda) -> None:
        self.cuda = cuda
        self.kernel = cuda.kernel(driver.SPIN, b"unigpu_spin")
        self.sum = cuda.alloc(8)
        cuda.call("cuMemsetD8_v2", c_uint64(self.sum), 0, c_size_t(8))
        self.asked = 0
        self._length, self._place = c_uint64(), c_uint64(self.sum)
        self._parameters = (c_void_p * 2)(ctypes.addressof(self._length), ctypes.addressof(self._place))
        self._launch = cuda.library.cuLaunchKernel
        processors, threads = cuda.attribute(16), cuda.attribute(39)
        self._blocks = processors * max(1, threads // THREADS)

    def spin(self, ns: int, stream: c_void_p | None = None) -> None:
        """Launch it, with as little of Python's own time as can be."""
        driver.check("cuLaunchKernel", self.launched(ns, stream))
        self.asked += ns

    def launched(self, ns: int, stream: c_void_p | None) -> int:
        """Launch it and return the status."""
        self._length.value = ns
        found: int = self._launch(self.kernel, self._blocks, 1, 1, THREADS, 1, 1, 0, stream, self._parameters, None)
        return found

    def took(self) -> int:
        """Return the nanoseconds that all of them took so far; what was asked where the driver runs no instructions."""
        found = c_uint64()
        self.cuda.call("cuCtxSynchronize")
        self.cuda.call("cuMemcpyDtoH_v2", byref(found), c_uint64(self.sum), c_size_t(8))
        return found.value or self.asked


def pause(ns: int) -> None:
    """Wait in place: no sleep is that short."""
    until = time.perf_counter_ns() + ns
    while time.perf_counter_ns() < until:
        pass


def kernels(ns: str, count: str, gap_us: str) -> None:
    """Launch kernels of one length with gaps; first some whose cost has to be learnt. Tell what they took, twice."""
    cuda = driver.Cuda()
    spinner = Spinner(cuda)
    for _ in range(20):
        spinner.spin(int(ns))
        cuda.call("cuCtxSynchronize")
    tell(took=spinner.took())
    sys.stdin.readline()
    for _ in range(int(count)):
        spinner.spin(int(ns))
        pause(int(gap_us) * 1000)
    tell(took=spinner.took())


def load(ns: str, streams: str) -> None:
    """Keep the GPU busy in several streams; at each line on stdin, tell the time that kernels took, and the clock."""
    cuda = driver.Cuda()
    spinner = Spinner(cuda)
    made = [c_void_p() for _ in range(int(streams))]
    events = [c_void_p() for _ in made]
    for stream, event in zip(made, events, strict=True):
        cuda.call("cuStreamCreate", byref(stream), 1)
        cuda.call("cuEventCreate", byref(event), 2)
    batch = max(4, 5_000_000 // int(ns) // len(made))
    tell(ready=True)
    while True:
        for stream, event in zip(made, events, strict=True):
            for _ in range(batch):
                spinner.spin(int(ns), stream)
            cuda.call("cuEventRecord", event, stream)
        for event in events:
            cuda.call("cuEventSynchronize", event)
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                return
            tell(took=spinner.took(), clock=time.monotonic_ns())


def first_launch() -> None:
    """Tell how long it took from the start of the process to the end of a first kernel."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    cuda = driver.Cuda()
    Spinner(cuda).spin(1000)
    cuda.call("cuCtxSynchronize")
    tell(seconds=round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 3))


def grown(act: Callable[[], object]) -> dict[str, int]:
    """Return by how much the account and NVML's figure for this process grew while `act` ran."""
    nvml, cuda = driver.Nvml(), driver.Cuda()
    free, listed = cuda.free(), nvml.processes().get(os.getpid(), 0)
    act()
    cuda.call("cuCtxSynchronize")
    return {"account": free - cuda.free(), "listed": nvml.processes().get(os.getpid(), 0) - listed}


def pools() -> None:
    """Take 256 MiB from a pool, free them, trim the pool; tell what each step did."""
    cuda = driver.Cuda()
    properties = (c_int * 22)(1, 0, 1, 0)  # pinned, no handle; on device 0
    pool, pointer, most = c_void_p(), c_uint64(), c_uint64(1 << 40)
    cuda.call("cuMemPoolCreate", byref(pool), properties)
    cuda.call("cuMemPoolSetAttribute", pool, 4, byref(most))  # the release threshold

    def take() -> None:
        cuda.call("cuMemAllocFromPoolAsync", byref(pointer), c_size_t(256 * MIB), pool, None)

    def give() -> None:
        cuda.call("cuMemFreeAsync", pointer, None)

    steps = {"taken": grown(take), "freed": grown(give)}
    steps["trimmed"] = grown(lambda: cuda.call("cuMemPoolTrimTo", pool, c_size_t(0)))
    newer = {}
    if cuda.version() >= 13000:
        place, found = (c_int * 2)(1, 0), c_void_p()
        newer["default"] = cuda.status("cuMemGetDefaultMemPool", byref(found), place, 1)
        newer["set"] = cuda.status("cuMemSetMemPool", place, 1, pool)
        newer["get"] = cuda.status("cuMemGetMemPool", byref(found), place, 1)
        newer["same"] = int(found.value != pool.value)
    tell(**steps, newer=newer)


def code() -> None:
    """Load a module of 200 kernels, then launch each; tell by how much memory grew."""
    cuda = driver.Cuda()
    names = [f"kernel{number}" for number in range(200)]
    body = "".join(f".visible .entry {name}() {{ ret; }}\n" for name in names)
    module = c_void_p()
    text = driver.HEADER + body.encode()
    loaded = grown(lambda: cuda.call("cuModuleLoadData", byref(module), text))

    def launch() -> None:
        for name in names:
            function = c_void_p()
            cuda.call("cuModuleGetFunction", byref(function), module, name.encode())
            cuda.launch(function)

    tell(loaded=loaded, launched=grown(launch))


def reserves() -> None:
    """Raise the limits of stacks, printf and heap, then launch; tell by how much memory grew."""
    cuda = driver.Cuda()
    kernel = cuda.kernel()
    cuda.launch(kernel)
    found = {}
    for name, number, size in (("stack", 0, 4096), ("printf", 1, 64 * MIB), ("heap", 2, 256 * MIB)):

        def raise_it(limit: int = number, amount: int = size) -> None:
            cuda.call("cuCtxSetLimit", limit, c_size_t(amount))
            cuda.launch(kernel)

        found[name] = grown(raise_it)
    tell(**found)


CHILDREN: Final = {each.__name__: each for each in (kernels, load, first_launch, pools, code, reserves)}
assert ctypes.sizeof(c_int * 22) == 88, "CUmemPoolProps"
