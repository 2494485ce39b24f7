"""NVRTC opens the driver for a table of unnamed functions: compiles with it, and loads what came out.

nvrtc.py <folder of the package: cuda_nvrtc for NVRTC 12, cu13 for 13>
"""

import ctypes
import json
import pathlib
import site
import sys
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p

SOURCE = b"""extern "C" __global__ void add(float *numbers, int count) {
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place < count) numbers[place] += 1;
}"""
library = next(pathlib.Path(site.getsitepackages()[0]).glob(f"nvidia/{sys.argv[1]}/lib/libnvrtc.so.*"))
nvrtc, cuda = ctypes.CDLL(str(library)), ctypes.CDLL("libcuda.so.1")
table, context = c_void_p(7), c_void_p()


def code(program: c_void_p, kind: str) -> ctypes.Array[ctypes.c_char]:
    """The compiled code of a kind: PTX or CUBIN."""
    size = c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{kind}Size")(program, byref(size)) == 0
    text = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{kind}")(program, text) == 0
    return text


def version() -> list[int]:
    major, minor = c_int(), c_int()
    assert nvrtc.nvrtcVersion(byref(major), byref(minor)) == 0
    return [major.value, minor.value]


def compiled() -> list[int]:
    """What compiling for an A100 returned, and what loading its code of both kinds and finding the kernel in it did."""
    program, module, function = c_void_p(), c_void_p(), c_void_p()
    assert nvrtc.nvrtcCreateProgram(byref(program), SOURCE, b"add.cu", 0, None, None) == 0
    seen = [nvrtc.nvrtcCompileProgram(program, 1, (c_char_p * 1)(b"--gpu-architecture=sm_80"))]
    for kind in ("PTX", "CUBIN"):
        seen.append(cuda.cuModuleLoadData(byref(module), code(program, kind)))
        seen.append(cuda.cuModuleGetFunction(byref(function), module, b"add"))
    return seen


assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
print(
    json.dumps(
        {
            "version": version(),
            "compiled": compiled(),
            "unknown table": [cuda.cuGetExportTable(byref(table), (c_int * 4)()), table.value],
        }
    )
)
