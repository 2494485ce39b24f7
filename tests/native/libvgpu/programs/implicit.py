"""Takes memory that no call asks for. Does what each line of its input says, and answers with a number.

code MIB       loads a module of so much code, and launches its kernel
stack KIB      launches a kernel with so much stack a thread
unload         unloads all modules
fill MIB       allocates so much until it is refused; answers how often it was not
pool MIB       the same from the device's pool
drop           frees all that `fill` took
free           answers the free bytes
"""

import ctypes
import json
import sys
from ctypes import byref, c_size_t, c_uint, c_uint64, c_void_p

from tests.native.simulator.programs.cubin import cubin

OUT_OF_MEMORY = 2
cuda = ctypes.CDLL("libcuda.so.1")
STACK = """.version 8.0
.target sm_80
.address_size 64
.visible .entry deep(.param .u64 first) {{ .local .align 8 .b8 __local_depot0[{bytes}]; ret; }}
"""
modules: list[c_void_p] = []
taken: list[c_uint64] = []


def ok(status: int) -> int:
    assert status == 0, status
    return 0


def run(image: bytes, name: bytes) -> int:
    module, function = c_void_p(), c_void_p()
    ok(cuda.cuModuleLoadData(byref(module), image))
    modules.append(module)
    ok(cuda.cuModuleGetFunction(byref(function), module, name))
    arguments = (c_void_p * 1)(ctypes.addressof(c_uint64()))
    ok(cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, None, arguments, None))
    return ok(cuda.cuCtxSynchronize())


def fill(size: int, pooled: bool) -> int:
    for count in range(1_000_000):
        pointer = c_uint64()
        if pooled:
            status = cuda.cuMemAllocAsync(byref(pointer), c_size_t(size), None)
        else:
            status = cuda.cuMemAlloc_v2(byref(pointer), c_size_t(size))
        if status == OUT_OF_MEMORY:
            return count
        ok(status)
        taken.append(pointer)
    raise AssertionError("never refused")


def drop() -> int:
    while taken:
        ok(cuda.cuMemFree_v2(taken.pop()))
    return 0


def unload() -> int:
    while modules:
        ok(cuda.cuModuleUnload(modules.pop()))
    return 0


def free() -> int:
    found = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(found), None))
    return found.value


def do(word: str, amount: int) -> int:
    match word:
        case "code":
            return run(cubin("heavy", amount << 20, local_bytes=0), b"heavy")
        case "stack":
            return run(STACK.format(bytes=amount << 10).encode(), b"deep")
        case "fill" | "pool":
            return fill(amount << 20, pooled=word == "pool")
        case "drop":
            return drop()
        case "unload":
            return unload()
        case _:
            return free()


context = c_void_p()
ok(cuda.cuInit(c_uint(0)))
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
for line in sys.stdin:
    words = line.split()
    print(json.dumps(do(words[0], int(words[1]) if len(words) > 1 else 0)), flush=True)
