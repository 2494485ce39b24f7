"""Memory that a process outside the container made, imported by one under libvgpu. Prints what the importer saw.

external.py <bytes> <seconds part's environment as JSON>; with `import <bytes> <file> <file>` it is the importer.
"""

import ctypes
import json
import os
import subprocess
import sys
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
OPAQUE_FD, PINNED, DEVICE, FILE_DESCRIPTOR = 1, 1, 1, 1


class Memory(ctypes.Structure):
    _fields_ = [("type", c_uint), ("pad", c_uint), ("fd", c_uint64), ("rest", c_uint64), ("size", c_uint64)]


def ok(status: int) -> None:
    assert status == 0, status


def start() -> None:
    context = c_void_p()
    ok(cuda.cuInit(0))
    ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
    ok(cuda.cuCtxSetCurrent(context))


def free_bytes() -> int:
    free = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), None))
    return free.value


def imported(size: int, file: int) -> tuple[int, c_void_p]:
    made, wanted = c_void_p(), (Memory * 2)(Memory(type=OPAQUE_FD, fd=file, size=size))
    return cuda.cuImportExternalMemory(byref(made), wanted), made


def importer(size: int, files: list[int]) -> None:
    start()
    before = free_bytes()
    first, made = imported(size, files[0])
    counted = before - free_bytes()
    second, _ = imported(size, files[1])
    ok(cuda.cuDestroyExternalMemory(made))
    print(json.dumps({"first": first, "counted": counted, "second": second, "left": before - free_bytes()}))


if sys.argv[1] == "import":
    importer(int(sys.argv[2]), [int(word) for word in sys.argv[3:]])
else:
    start()
    handle, file = c_uint64(), c_int()
    properties = (c_int * 8)(PINNED, FILE_DESCRIPTOR, DEVICE, 0)
    ok(cuda.cuMemCreate(byref(handle), c_size_t(int(sys.argv[1])), properties, c_uint64(0)))
    ok(cuda.cuMemExportToShareableHandle(byref(file), handle, FILE_DESCRIPTOR, c_uint64(0)))
    files = [file.value, os.dup(file.value)]
    words = [sys.executable, __file__, "import", sys.argv[1], *map(str, files)]
    sys.exit(subprocess.run(words, env=json.loads(sys.argv[2]), pass_fds=files, check=False).returncode)
