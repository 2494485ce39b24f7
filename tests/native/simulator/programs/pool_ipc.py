"""Memory of a pool, used by another process. Prints what both saw as JSON.

With words, it is the other process: a file descriptor of the pool, and what names each piece of memory, in hexadecimal.
"""

import ctypes
import json
import subprocess
import sys
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
FILE_DESCRIPTOR, PINNED, DEVICE, NODE = 1, 1, 1, 3
SMALL, LARGE = 64, 8 << 20


def ok(status: int) -> None:
    assert status == 0, status


def read(pointer: c_uint64) -> int:
    value = c_uint()
    ok(cuda.cuMemcpyDtoH_v2(byref(value), pointer, c_size_t(4)))
    return value.value


def free_mib() -> int:
    free = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), None))
    return free.value >> 20


def export(place: int) -> dict[str, object]:
    """A pool that can be shared; what the importer saw; what it wrote; refusals."""
    pool, plain, pointers = c_void_p(), c_void_p(), [c_uint64(), c_uint64()]
    handle, named = c_int(-1), [ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)]
    ok(cuda.cuMemPoolCreate(byref(pool), (c_int * 32)(PINNED, FILE_DESCRIPTOR, place, 0)))
    ok(cuda.cuMemPoolCreate(byref(plain), (c_int * 32)(PINNED, 0, place, 0)))
    ok(cuda.cuMemPoolExportToShareableHandle(byref(handle), pool, FILE_DESCRIPTOR, c_uint64(0)))
    for index, (pointer, size) in enumerate(zip(pointers, (SMALL, LARGE), strict=True)):
        ok(cuda.cuMemAllocFromPoolAsync(byref(pointer), c_size_t(size), pool, None))
        ok(cuda.cuMemsetD32Async(pointer, 5 + index, c_size_t(size // 4), None))
        ok(cuda.cuStreamSynchronize(None))
        ok(cuda.cuMemPoolExportPointer(named[index], pointer))
    unshared = c_uint64()
    ok(cuda.cuMemAllocFromPoolAsync(byref(unshared), c_size_t(SMALL), plain, None))
    refused = [
        cuda.cuMemPoolExportToShareableHandle(byref(c_int()), plain, FILE_DESCRIPTOR, c_uint64(0)),
        cuda.cuMemPoolExportPointer(named[0], unshared),
        cuda.cuMemPoolExportPointer(named[0], c_uint64(pointers[0].value + 8)),
    ]
    words = [str(handle.value), *(each.raw.hex() for each in named)]
    done = subprocess.run(
        [sys.executable, __file__, *words], pass_fds=[handle.value], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    written = [read(pointer) for pointer in pointers]
    for pointer in pointers:
        ok(cuda.cuMemFreeAsync(pointer, None))
    ok(cuda.cuStreamSynchronize(None))
    return {"importer": json.loads(done.stdout), "written": written, "refused": refused}


def importer(handle: int, names: list[bytes]) -> dict[str, object]:
    """What it read; what the memory costs it; allocating and exporting from the pool; reading after a free."""
    pool, pointers = c_void_p(), [c_uint64(), c_uint64()]
    before = free_mib()
    ok(cuda.cuMemPoolImportFromShareableHandle(byref(pool), c_void_p(handle), FILE_DESCRIPTOR, c_uint64(0)))
    for pointer, name in zip(pointers, names, strict=True):
        ok(cuda.cuMemPoolImportPointer(byref(pointer), pool, name))
    cost = before - free_mib()
    values = [read(pointer) for pointer in pointers]
    for pointer in pointers:
        ok(cuda.cuMemsetD32Async(pointer, 9, c_size_t(1), None))
    refused = cuda.cuMemAllocFromPoolAsync(byref(c_uint64()), c_size_t(SMALL), pool, None)
    ok(cuda.cuMemFreeAsync(pointers[0], None))
    ok(cuda.cuMemFree_v2(pointers[1]))
    after = [cuda.cuMemcpyDtoH_v2(byref(c_uint()), pointer, c_size_t(4)) for pointer in pointers]
    return {"values": values, "cost": cost, "refused": refused, "after": after, "pool": cuda.cuMemPoolDestroy(pool)}


ok(cuda.cuInit(c_uint(0)))
context = c_void_p()
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
if len(sys.argv) > 1:
    print(json.dumps(importer(int(sys.argv[1]), [bytes.fromhex(word) for word in sys.argv[2:]])))
else:
    print(json.dumps({"device": export(DEVICE), "node": export(NODE)}))
