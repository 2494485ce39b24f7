"""The few calls of the driver API and of NVML that the steps need, through ctypes."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from typing import Any, Final

MIB: Final = 1 << 20
OUT_OF_MEMORY: Final = 2
NOT_READY: Final = 600
HEADER: Final = b""".version 7.0
.target sm_50
.address_size 64
"""
PTX: Final = (
    HEADER
    + b""".visible .entry nothing() { ret; }
"""
)
SPIN: Final = (
    HEADER
    + b""".visible .entry unigpu_spin(.param .u64 ns, .param .u64 sum) {
    .reg .u64 %r<6>;
    .reg .pred %p;
    .reg .u32 %a;
    .reg .u32 %b;
    ld.param.u64 %r1, [ns];
    ld.param.u64 %r2, [sum];
    mov.u64 %r3, %globaltimer;
again:
    mov.u64 %r4, %globaltimer;
    sub.u64 %r4, %r4, %r3;
    setp.lt.u64 %p, %r4, %r1;
    @%p bra again;
    mov.u32 %a, %tid.x;
    mov.u32 %b, %ctaid.x;
    or.b32 %a, %a, %b;
    setp.ne.u32 %p, %a, 0;
    @%p ret;
    atom.global.add.u64 %r5, [%r2], %r4;
    ret;
}
"""
)
"""A kernel that takes `ns` by the GPU's clock; its first thread adds what it took to `sum`."""


class DriverError(Exception):
    """Raised when a call fails that the step depends on; the text names the call and its error."""


def check(name: str, status: int) -> None:
    """Raise DriverError unless the status is success."""
    if status:
        raise DriverError(f"{name} returned {status}")


class Cuda:
    """The driver API, with the primary context of device 0 current."""

    def __init__(self, *, context: bool = True) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        self.context = c_void_p()
        if context:
            self.call("cuDevicePrimaryCtxRetain", byref(self.context), 0)
            self.call("cuCtxSetCurrent", self.context)

    def status(self, name: str, *arguments: Any) -> int:
        """Call a function and return its status."""
        found: int = getattr(self.library, name)(*arguments)
        return found

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; raise DriverError if it fails."""
        check(name, self.status(name, *arguments))

    def version(self) -> int:
        """Return the newest CUDA version that the driver knows: 1000 · major + 10 · minor."""
        found = c_int()
        self.call("cuDriverGetVersion", byref(found))
        return found.value

    def attribute(self, number: int) -> int:
        """Return an attribute of device 0."""
        found = c_int()
        self.call("cuDeviceGetAttribute", byref(found), number, 0)
        return found.value

    def total(self) -> int:
        """Return the bytes of device 0 that can be given away."""
        found = c_size_t()
        self.call("cuDeviceTotalMem_v2", byref(found), 0)
        return found.value

    def free(self) -> int:
        """Return the bytes that are free."""
        found = c_size_t()
        self.call("cuMemGetInfo_v2", byref(found), byref(c_size_t()))
        return found.value

    def alloc(self, size: int) -> int:
        """Allocate bytes; return the pointer, or 0: out of memory."""
        pointer = c_uint64()
        status = self.status("cuMemAlloc_v2", byref(pointer), c_size_t(size))
        if status == OUT_OF_MEMORY:
            return 0
        check("cuMemAlloc_v2", status)
        return pointer.value

    def release(self, pointer: int) -> None:
        """Free what `alloc` returned."""
        self.call("cuMemFree_v2", c_uint64(pointer))

    def kernel(self, text: bytes = PTX, name: bytes = b"nothing") -> c_void_p:
        """Return a kernel; without arguments one that does nothing."""
        module, function = c_void_p(), c_void_p()
        self.call("cuModuleLoadData", byref(module), text)
        self.call("cuModuleGetFunction", byref(function), module, name)
        return function

    def launch(self, kernel: c_void_p, *parameters: Any, stream: c_void_p | None = None) -> None:
        """Launch it with one thread, in the default stream or another; raise DriverError if it fails."""
        check("cuLaunchKernel", self.launched(kernel, *parameters, stream=stream))

    def launched(self, kernel: c_void_p, *parameters: Any, stream: c_void_p | None = None) -> int:
        """Launch it and return the status."""
        pointers = (c_void_p * max(1, len(parameters)))(*(ctypes.addressof(each) for each in parameters))
        return self.status(
            "cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, stream, pointers if parameters else None, None
        )


class _Memory(ctypes.Structure):
    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class _MemoryV2(ctypes.Structure):
    _fields_ = (
        ("version", c_uint),
        ("total", c_ulonglong),
        ("reserved", c_ulonglong),
        ("free", c_ulonglong),
        ("used", c_ulonglong),
    )


class _Process(ctypes.Structure):
    _fields_ = (("pid", c_uint), ("used", c_ulonglong), ("gpu_instance", c_uint), ("compute_instance", c_uint))


class Nvml:
    """NVML, with its device 0."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libnvidia-ml.so.1")
        self.device = c_void_p()
        check("nvmlInit_v2", self.library.nvmlInit_v2())
        check("nvmlDeviceGetHandleByIndex_v2", self.library.nvmlDeviceGetHandleByIndex_v2(0, byref(self.device)))

    def text(self, name: str, *arguments: Any) -> str:
        """Return the text that a function with a buffer and its length as last parameters answers."""
        found = ctypes.create_string_buffer(96)
        check(name, getattr(self.library, name)(*arguments, found, 96))
        return found.value.decode()

    def memory(self) -> dict[str, int]:
        """Return total, free and used bytes by the first version of the call."""
        found = _Memory()
        check("nvmlDeviceGetMemoryInfo", self.library.nvmlDeviceGetMemoryInfo(self.device, byref(found)))
        return {"total": found.total, "free": found.free, "used": found.used}

    def memory_v2(self) -> dict[str, int]:
        """Return total, reserved, free and used bytes by the second version of the call."""
        found = _MemoryV2(version=ctypes.sizeof(_MemoryV2) | 2 << 24)
        check("nvmlDeviceGetMemoryInfo_v2", self.library.nvmlDeviceGetMemoryInfo_v2(self.device, byref(found)))
        return {"total": found.total, "reserved": found.reserved, "free": found.free, "used": found.used}

    def close(self) -> None:
        """End the session."""
        check("nvmlShutdown", self.library.nvmlShutdown())

    def processes(self, kind: str = "Compute") -> dict[int, int]:
        """Return bytes by pid of the processes with a context on the device; `MPSCompute`: of the clients of MPS."""
        count, found = c_uint(256), (_Process * 256)()
        name = f"nvmlDeviceGet{kind}RunningProcesses_v3"
        check(name, getattr(self.library, name)(self.device, byref(count), found))
        return {each.pid: each.used for each in found[: count.value]}
