"""What the driver tells of a kernel's code, and what its launch needs. Prints what each rule saw as JSON."""

import ctypes
import itertools
import json
import struct
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

from tests.native.simulator.programs.cubin import cubin

cuda = ctypes.CDLL("libcuda.so.1")
MAX_THREADS, SHARED, CONST, LOCAL, REGISTERS, MOST_DYNAMIC = 0, 1, 2, 3, 4, 8
LAZY = 2
PTX = b""".version 8.0
.target sm_80
.address_size 64
.const .align 4 .b8 numbers[80];
.shared .align 4 .b8 everyone[100];
.visible .entry plain(.param .u64 first, .param .u32 second) { ret; }
.visible .entry large() .maxntid 16, 8, 1 {
  .local .align 8 .b8 __local_depot0[4096];
  .shared .align 4 .b8 own[300];
  ret;
}
"""


def ok(status: int) -> None:
    assert status == 0, status


def load(image: bytes, name: bytes) -> c_void_p:
    module, function = c_void_p(), c_void_p()
    ok(cuda.cuModuleLoadData(byref(module), image))
    ok(cuda.cuModuleGetFunction(byref(function), module, name))
    return function


def figures(function: c_void_p) -> list[int]:
    value, found = c_int(), []
    for attribute in (MAX_THREADS, SHARED, CONST, LOCAL, REGISTERS, MOST_DYNAMIC):
        ok(cuda.cuFuncGetAttribute(byref(value), attribute, function))
        found.append(value.value)
    return found


def launch(function: c_void_p, threads: int, shared: int = 0) -> int:
    arguments = (c_void_p * 2)(*[ctypes.addressof(c_uint64())] * 2)
    status = cuda.cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, shared, None, arguments, None)
    ok(cuda.cuCtxSynchronize())
    return int(status)


def free_mib() -> int:
    free = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), None))
    return free.value >> 20


def figures_of_a_kernel() -> dict[str, list[int]]:
    """Most threads, shared, constant and local bytes, registers, and dynamic shared memory without opting in."""
    return {
        "text": figures(load(PTX, b"plain")),
        "text with more": figures(load(PTX, b"large")),
        "code": figures(load(cubin("code"), b"code")),
    }


def blocks_of_too_many_threads() -> list[int]:
    """More than its author declares; as many as declared; more than its registers allow."""
    large = load(PTX, b"large")
    hungry = load(
        cubin("hungry", registers=255).replace(struct.pack("<III", 128, 2, 1), struct.pack("<III", 1024, 1, 1)),
        b"hungry",
    )
    return [launch(large, 129), launch(large, 128), launch(hungry, 1024), launch(hungry, 256)]


def stacks_grow_at_a_launch() -> list[int]:
    """MiB taken by the first launch of a kernel with 16 KiB of stack a thread, and by the second."""
    function = load(PTX.replace(b"depot0[4096]", b"depot0[16384]"), b"large")
    before = free_mib()
    launch(function, 32)
    first = free_mib()
    launch(function, 32)
    return [before - first, first - free_mib()]


def code_takes_memory() -> list[object]:
    """Whether loading is lazy. MiB taken by loading 9 MiB of code, by its first launch, by its second, and by its end.

    With it, whether the driver says that the code is loaded after the first two.
    """
    mode, loaded, module, function = c_int(), c_int(), c_void_p(), c_void_p()
    ok(cuda.cuModuleGetLoadingMode(byref(mode)))
    seen, said = [free_mib()], []
    ok(cuda.cuModuleLoadData(byref(module), cubin("heavy", text_bytes=9 << 20)))
    ok(cuda.cuModuleGetFunction(byref(function), module, b"heavy"))
    seen.append(free_mib())
    for _ in range(2):
        ok(cuda.cuFuncIsLoaded(byref(loaded), function))
        said.append(loaded.value)
        launch(function, 32)
        seen.append(free_mib())
    ok(cuda.cuModuleUnload(module))
    seen.append(free_mib())
    return [mode.value == LAZY, [before - after for before, after in itertools.pairwise(seen)], said]


def libraries_without_a_context() -> list[object]:
    """Loading and a kernel; then its parameters and its function, which need a context."""
    library, kernel, function, context = c_void_p(), c_void_p(), c_void_p(), c_void_p()
    offset, size, count = c_size_t(), c_size_t(), c_size_t()
    ok(cuda.cuCtxGetCurrent(byref(context)))
    ok(cuda.cuCtxSetCurrent(None))
    seen = [
        cuda.cuLibraryLoadData(byref(library), PTX, None, None, 0, None, None, 0),
        cuda.cuLibraryGetKernel(byref(kernel), library, b"plain"),
    ]
    questions: list[Callable[[], int]] = [
        lambda: cuda.cuKernelGetParamInfo(kernel, c_size_t(1), byref(offset), byref(size)),
        lambda: cuda.cuKernelGetParamCount(kernel, byref(count)),
        lambda: cuda.cuKernelGetFunction(byref(function), kernel),
    ]
    without = [question() for question in questions]
    ok(cuda.cuCtxSetCurrent(context))
    inside = [question() for question in questions]
    return [seen, without, inside, [offset.value, count.value], cuda.cuLibraryUnload(library)]


def code_for_the_linker() -> list[int]:
    """LTO IR is loaded; its kernels aren't seen."""
    library, kernel = c_void_p(), c_void_p()
    image = (0x7F4E43ED).to_bytes(4, "little") + bytes(60)
    loaded = cuda.cuLibraryLoadData(byref(library), image, None, None, 0, None, None, 0)
    return [loaded, cuda.cuLibraryGetKernel(byref(kernel), library, b"plain"), cuda.cuLibraryUnload(library)]


ok(cuda.cuInit(c_uint(0)))
current = c_void_p()
ok(cuda.cuDevicePrimaryCtxRetain(byref(current), 0))
ok(cuda.cuCtxSetCurrent(current))
RULES: list[Callable[[], object]] = [
    figures_of_a_kernel,
    blocks_of_too_many_threads,
    stacks_grow_at_a_launch,
    code_takes_memory,
    libraries_without_a_context,
    code_for_the_linker,
]
print(json.dumps({rule.__name__: rule() for rule in RULES}))
