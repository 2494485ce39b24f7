"""A green context under libvgpu: says a line after each step, and goes on when it has read one.

green.py <bytes of each allocation>
"""

import ctypes
import sys
from ctypes import byref, c_char, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
PTX = b""".version 8.0
.target sm_80
.address_size 64
.visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }
"""


def ok(status: int) -> None:
    assert status == 0, status


def say(*words: object) -> None:
    print(*words, flush=True)
    sys.stdin.readline()


ok(cuda.cuInit(0))
resources, count, description, made = (c_char * (2 * 144))(), c_uint(1), c_void_p(), c_void_p()
whole, active = (c_char * 144)(), c_int()
ok(cuda.cuDeviceGetDevResource(0, whole, 1))
ok(cuda.cuDevSmResourceSplitByCount(resources, byref(count), whole, None, 0, 20))
ok(cuda.cuDevResourceGenerateDesc(byref(description), resources, 1))
status = cuda.cuGreenCtxCreate(byref(made), description, 0, 1)
say("created", status)
if status:
    sys.exit()
name, stream, module, function = c_void_p(), c_void_p(), c_void_p(), c_void_p()
ok(cuda.cuCtxFromGreenCtx(byref(name), made))
ok(cuda.cuCtxPushCurrent_v2(name))
ok(cuda.cuGreenCtxStreamCreate(byref(stream), made, 1, 0))
ok(cuda.cuModuleLoadData(byref(module), PTX))
ok(cuda.cuModuleGetFunction(byref(function), module, b"unigpu_spin"))
length = c_uint64(1000)
parameters = (c_void_p * 1)(ctypes.addressof(length))
for _ in range(100):
    ok(cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, parameters, None))
pointers, status = [], 0
while not status:
    pointers.append(c_ulonglong())
    status = cuda.cuMemAlloc_v2(byref(pointers[-1]), c_size_t(int(sys.argv[1])))
say("full", status)
ok(cuda.cuStreamDestroy_v2(stream))
ok(cuda.cuCtxPopCurrent_v2(None))
ok(cuda.cuGreenCtxDestroy(made))
ok(cuda.cuDevicePrimaryCtxGetState(0, byref(c_uint()), byref(active)))
say("destroyed", active.value)
