"""Run in a process of its own by the tests: does one driver or NVML call a line of standard input.

Knows nothing of the simulator: it loads libcuda.so.1 and libnvidia-ml.so.1 as any program does.
"""

import ctypes
import json
import os
import sys
from typing import Any

cuda = ctypes.CDLL("libcuda.so.1")
nvml = ctypes.CDLL("libnvidia-ml.so.1")
pointers: list[int] = []
context = ctypes.c_void_p()


class Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("device", ctypes.c_void_p),
        ("type", ctypes.c_ulonglong),
        ("data", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


def init() -> int:
    return int(cuda.cuInit(0))


def devices() -> int:
    count = ctypes.c_int()
    assert cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value


def uuids() -> list[str]:
    found = []
    for ordinal in range(devices()):
        raw = (ctypes.c_ubyte * 16)()
        assert cuda.cuDeviceGetUuid_v2(raw, ordinal) == 0
        text = bytes(raw).hex()
        found.append(f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
    return found


def start(ordinal: int = 0) -> int:
    """A context on the device; the driver's first error, or 0."""
    return int(
        cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), ordinal) or cuda.cuCtxSetCurrent(context)
    )


def info() -> list[int]:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return [free.value, total.value]


def alloc(size: int) -> int:
    pointer = ctypes.c_uint64()
    status = cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size))
    if status == 0:
        pointers.append(pointer.value)
    return int(status)


def alloc_managed(size: int) -> int:
    global_access = 1
    return int(cuda.cuMemAllocManaged(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(size), global_access))


def fill(size: int) -> int:
    """Allocates pieces of `size` until the driver refuses; how many there were."""
    count = 0
    while alloc(size) == 0:
        count += 1
    return count


def free_all() -> int:
    status = 0
    while pointers:
        status = status or cuda.cuMemFree_v2(ctypes.c_uint64(pointers.pop()))
    return int(status)


def pool_uses(size: int, threshold: int) -> list[int]:
    """Bytes that the GPU lacks when the default pool has two allocations of `size`, none, one, and after a trim to 0.

    The last is what the pool then says that it has reserved.
    """
    pool, stream, before = ctypes.c_void_p(), None, info()[0]
    assert cuda.cuDeviceGetDefaultMemPool(ctypes.byref(pool), 0) == 0
    assert cuda.cuMemPoolSetAttribute(pool, 4, ctypes.byref(ctypes.c_uint64(threshold))) == 0
    held: list[ctypes.c_uint64] = []
    seen = []
    for wanted in (2, 0, 1):
        while len(held) < wanted:
            held.append(ctypes.c_uint64())
            assert cuda.cuMemAllocAsync(ctypes.byref(held[-1]), ctypes.c_size_t(size), stream) == 0
        while len(held) > wanted:
            assert cuda.cuMemFreeAsync(held.pop(), stream) == 0
        assert synchronize() == 0
        seen.append(before - info()[0])
    assert cuda.cuMemPoolTrimTo(pool, ctypes.c_size_t(0)) == 0
    reserved = ctypes.c_uint64()
    assert cuda.cuMemPoolGetAttribute(pool, 5, ctypes.byref(reserved)) == 0
    return [*seen, before - info()[0], reserved.value]


def destroyed_pool_uses(size: int) -> list[int]:
    """What allocating from a destroyed pool answers; bytes that the GPU lacks with two allocations left, one, none."""
    before, pool, held = info()[0], ctypes.c_void_p(), [ctypes.c_uint64(), ctypes.c_uint64()]
    pinned_on_device = (ctypes.c_int * 32)(1, 0, 1, 0)
    assert cuda.cuMemPoolCreate(ctypes.byref(pool), pinned_on_device) == 0
    for pointer in held:
        assert cuda.cuMemAllocFromPoolAsync(ctypes.byref(pointer), ctypes.c_size_t(size), pool, None) == 0
    assert synchronize() == 0
    assert cuda.cuMemPoolDestroy(pool) == 0
    refusal = cuda.cuMemAllocFromPoolAsync(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(size), pool, None)
    seen = [refusal, before - info()[0]]
    assert cuda.cuMemFreeAsync(held[0], None) == 0
    assert synchronize() == 0
    seen.append(before - info()[0])
    assert cuda.cuMemFree_v2(held[1]) == 0
    return [*seen, before - info()[0]]


def limit_uses(limit: int, values: list[int]) -> list[list[int]]:
    """For each value of a context's limit, what setting it answers, and bytes that the GPU then lacks."""
    before = info()[0]
    return [[cuda.cuCtxSetLimit(limit, ctypes.c_size_t(value)), before - info()[0]] for value in values]


def fork_and_init() -> int:
    """What cuInit and an allocation answer in a child of a process that uses the driver."""
    child = os.fork()
    if child == 0:
        os._exit(cuda.cuInit(0) * 10 + alloc(1024))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


PTX = b""".version 8.0
.target sm_75
.address_size 64
.visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }
.visible .entry unigpu_work(.param .u64 nanoseconds) { ret; }
"""
spinner, worker = ctypes.c_void_p(), ctypes.c_void_p()


def load_spin() -> int:
    module = ctypes.c_void_p()
    return int(
        cuda.cuModuleLoadData(ctypes.byref(module), PTX)
        or cuda.cuModuleGetFunction(ctypes.byref(spinner), module, b"unigpu_spin")
        or cuda.cuModuleGetFunction(ctypes.byref(worker), module, b"unigpu_work")
    )


def spin(milliseconds: int) -> int:
    """Launches a kernel that holds the whole GPU so long; does not wait for it."""
    value = ctypes.c_uint64(milliseconds * 1_000_000)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    return int(cuda.cuLaunchKernel(spinner, 1, 1, 1, 1, 1, 1, 0, None, parameters, None))


def spin_often(count: int, microseconds: int) -> int:
    """Launches so many such kernels, one after another."""
    value = ctypes.c_uint64(microseconds * 1000)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    status = 0
    for _ in range(count):
        status = status or cuda.cuLaunchKernel(spinner, 1, 1, 1, 1, 1, 1, 0, None, parameters, None)
    return int(status)


def timed_spins(count: int, microseconds: int) -> list[int]:
    """The same; the events right before and after them."""
    before = record()
    assert spin_often(count, microseconds) == 0
    return [before, record()]


def synchronize() -> int:
    return int(cuda.cuCtxSynchronize())


def renew() -> int:
    """Gives up the primary context, as it is, for a new one."""
    return int(cuda.cuDevicePrimaryCtxReset_v2(0) or start())


events: list[ctypes.c_void_p] = []


def record() -> int:
    """Records a new event; its number."""
    event = ctypes.c_void_p()
    assert cuda.cuEventCreate(ctypes.byref(event), 0) == 0
    assert cuda.cuEventRecord(event, None) == 0
    events.append(event)
    return len(events) - 1


def query(event: int) -> int:
    return int(cuda.cuEventQuery(events[event]))


def timed_spin(count: int, microseconds: int) -> float:
    """Milliseconds by the GPU's own clock from before so many kernels until they are over."""
    before = record()
    assert spin_often(count, microseconds) == 0
    return elapsed(before, record())


def hold() -> None:
    """Keeps the GPU busy while the next calls are made, so that what they time lies on the GPU alone."""
    assert spin(100) == 0


def timed_work(grid: int, block: int, shared: int, microseconds: int, streams: int) -> float:
    """The same for a kernel of this shape, which takes so long for each wave of blocks, in each of so many streams."""
    value = ctypes.c_uint64(microseconds * 1000)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    hold()
    before = record()
    for _ in range(streams):
        stream = ctypes.c_void_p()
        assert cuda.cuStreamCreate(ctypes.byref(stream), 0) == 0
        assert cuda.cuLaunchKernel(worker, grid, 1, 1, block, 1, 1, shared, stream, parameters, None) == 0
        assert cuda.cuStreamDestroy_v2(stream) == 0
    return elapsed(before, record())


def elapsed(first: int, second: int) -> float:
    milliseconds = ctypes.c_float()
    assert cuda.cuEventSynchronize(events[second]) == 0
    assert cuda.cuEventElapsedTime(ctypes.byref(milliseconds), events[first], events[second]) == 0
    return milliseconds.value


class Utilisation(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


def nvml_utilisation() -> int:
    rates = Utilisation()
    assert nvml.nvmlDeviceGetUtilizationRates(_handle(0), ctypes.byref(rates)) == 0
    return int(rates.gpu)


def _handle(index: int) -> ctypes.c_void_p:
    assert nvml.nvmlInit_v2() == 0
    handle = ctypes.c_void_p()
    status = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    assert status == 0, status
    return handle


def nvml_count() -> int:
    assert nvml.nvmlInit_v2() == 0
    count = ctypes.c_uint()
    assert nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    return count.value


def nvml_uuids() -> list[str]:
    found = []
    for index in range(nvml_count()):
        text = ctypes.create_string_buffer(96)
        assert nvml.nvmlDeviceGetUUID(_handle(index), text, 96) == 0
        found.append(text.value.decode())
    return found


def nvml_minor(index: int) -> int:
    minor = ctypes.c_uint()
    assert nvml.nvmlDeviceGetMinorNumber(_handle(index), ctypes.byref(minor)) == 0
    return minor.value


def nvml_used(index: int = 0) -> int:
    memory = Memory()
    assert nvml.nvmlDeviceGetMemoryInfo(_handle(index), ctypes.byref(memory)) == 0
    return int(memory.used)


def nvml_processes(index: int = 0) -> dict[str, int]:
    count = ctypes.c_uint(64)
    found = (Process * 64)()
    assert nvml.nvmlDeviceGetComputeRunningProcesses_v3(_handle(index), ctypes.byref(count), found) == 0
    return {str(each.pid): each.used for each in found[: count.value]}


def nvml_process_list(index: int = 0, kind: str = "Compute") -> list[list[int]]:
    """Pid and memory of each entry, in order."""
    count = ctypes.c_uint(64)
    found = (Process * 64)()
    call = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")
    assert call(_handle(index), ctypes.byref(count), found) == 0
    return [[each.pid, each.used] for each in found[: count.value]]


def nvml_far_ends(index: int, links: int) -> list[list[int]]:
    """Of each link: the type of the device at its other end (0: a GPU, 2: a switch), and that device's bus."""
    found = []
    for link in range(links):
        kind, pci = ctypes.c_uint(), (ctypes.c_uint * 17)()  # 16 bytes of text, then domain, bus
        assert nvml.nvmlDeviceGetNvLinkRemoteDeviceType(_handle(index), link, ctypes.byref(kind)) == 0
        assert nvml.nvmlDeviceGetNvLinkRemotePciInfo_v2(_handle(index), link, pci) == 0
        found.append([kind.value, pci[5]])
    return found


class Limits(ctypes.Structure):
    _fields_ = (
        ("group", ctypes.c_char_p),
        ("soft", ctypes.c_ulonglong),
        ("hard", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def nvml_limit(index: int, group: str, soft: int, hard: int) -> int:
    """Sets a control group's limits; the structure is one word shorter than that for reading them."""
    limits = Limits(group.encode(), soft, hard)
    return int(nvml.nvmlDeviceSetMemoryLimits_v1(_handle(index), ctypes.byref(limits)))


def nvml_limits(index: int, group: str) -> list[int]:
    """The status, then the soft limit, the hard one, and what is used."""
    found = Limits(group.encode())
    status = nvml.nvmlDeviceGetMemoryLimits_v1(_handle(index), ctypes.byref(found))
    return [status, found.soft, found.hard, found.used]


def nvml_recovery_action(index: int = 0) -> int:
    """The number of what heals the GPU; 0: nothing is wrong."""
    field = (ctypes.c_uint64 * 5)(230)
    assert nvml.nvmlDeviceGetFieldValues(_handle(index), 1, field) == 0
    assert field[3] >> 32 == 0, "the field's own status"
    return int(field[4]) & 0xFFFFFFFF


def nvml_handle_status(index: int = 0) -> int:
    assert nvml.nvmlInit_v2() == 0
    return int(nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(ctypes.c_void_p())))


event_set = ctypes.c_void_p()


def watch(index: int, types: int) -> int:
    handle = _handle(index)
    assert nvml.nvmlEventSetCreate(ctypes.byref(event_set)) == 0
    return int(nvml.nvmlDeviceRegisterEvents(handle, ctypes.c_ulonglong(types), event_set))


def wait_event(milliseconds: int) -> list[int]:
    event = Event()
    status = nvml.nvmlEventSetWait_v2(event_set, ctypes.byref(event), milliseconds)
    return [status, event.type, event.data]


def pid() -> int:
    return os.getpid()


def main() -> None:
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        answer: Any = globals()[name](*arguments)
        print(json.dumps(answer), flush=True)


main()
