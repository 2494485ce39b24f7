"""Rules of real drivers that programs depend on, one function for each. Prints what each one saw as JSON."""

import ctypes
import functools
import json
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
PTX = b""".version 8.0
.target sm_80
.address_size 64
.visible .entry nothing() { ret; }
"""
HOST_FUNCTION = ctypes.CFUNCTYPE(None, c_void_p)
HOST_NOTHING = HOST_FUNCTION(lambda _: None)
context = c_void_p()


def ok(status: int) -> None:
    assert status == 0, status


def stream(flags: int = 1) -> c_void_p:
    made = c_void_p()
    ok(cuda.cuStreamCreate(byref(made), flags))
    return made


def event() -> c_void_p:
    made = c_void_p()
    ok(cuda.cuEventCreate(byref(made), 0))
    return made


def memory_info_without_outputs() -> list[int]:
    """cuMemGetInfo takes NULL for either output."""
    free, total = c_size_t(), c_size_t()
    statuses = [
        cuda.cuMemGetInfo_v2(byref(free), None),
        cuda.cuMemGetInfo_v2(None, byref(total)),
        cuda.cuMemGetInfo_v2(None, None),
    ]
    return [*statuses, 0 < free.value < total.value]


def in_thread(call: Callable[[], int], mode: int) -> int:
    """What the call returns in another thread, which has this capture mode."""
    answers: list[int] = []

    def run() -> None:
        ok(cuda.cuCtxSetCurrent(context))
        ok(cuda.cuThreadExchangeStreamCaptureMode(byref(c_int(mode))))
        answers.append(call())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return answers[0]


def queries_while_another_thread_captures() -> dict[str, list[int]]:
    """By capture mode and the other thread's mode: what queries of events and streams return, then its end."""
    seen = {}
    for name, capture, other in [
        ("global, global", GLOBAL, GLOBAL),
        ("global, relaxed", GLOBAL, RELAXED),
        ("thread-local, global", THREAD_LOCAL, GLOBAL),
    ]:
        found = []
        for query, handle in ((cuda.cuEventQuery, event()), (cuda.cuStreamQuery, stream())):
            captured, graph = stream(), c_void_p()
            ok(cuda.cuStreamBeginCapture_v2(captured, capture))
            found.append(in_thread(functools.partial(query, handle), other))
            found.append(cuda.cuStreamEndCapture(captured, byref(graph)))
        seen[name] = found
    return seen


def user_objects_live_as_long_as_their_graphs() -> list[int]:
    """How often the destructor ran after the end of the graph, of its clone, and of the executable graph."""
    calls: list[int | None] = []
    destroy = HOST_FUNCTION(calls.append)
    kept, graph, clone, ready = c_void_p(), c_void_p(), c_void_p(), c_void_p()
    ok(cuda.cuUserObjectCreate(byref(kept), c_void_p(7), destroy, 1, 1))
    ok(cuda.cuGraphCreate(byref(graph), 0))
    ok(cuda.cuGraphRetainUserObject(graph, kept, 1, 1))
    ok(cuda.cuGraphClone(byref(clone), graph))
    ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
    seen = []
    for end, handle in ((cuda.cuGraphDestroy, graph), (cuda.cuGraphDestroy, clone), (cuda.cuGraphExecDestroy, ready)):
        ok(end(handle))
        seen.append(len(calls))
    return seen


def a_graph_in_capture_cannot_be_destroyed() -> list[int]:
    """What destroying it returns, whether a broken capture then ends cleanly, and whether the driver still works."""
    captured, graph = stream(), c_void_p()
    ok(cuda.cuStreamBeginCapture_v2(captured, GLOBAL))
    ok(cuda.cuStreamGetCaptureInfo_v2(captured, byref(c_int()), None, byref(graph), None, None))
    refused = cuda.cuGraphDestroy(graph)
    unsafe = cuda.cuMemAlloc_v2(byref(c_uint64()), c_size_t(16))
    ended = cuda.cuStreamEndCapture(captured, byref(c_void_p()))
    return [refused, unsafe, ended, cuda.cuGraphDestroy(graph), cuda.cuCtxSynchronize()]


def a_joined_stream_may_be_destroyed() -> list[int]:
    """The end of a capture whose joined stream was destroyed, while a thread of the driver still served that stream."""
    origin, recorded = stream(), event()
    seen = []
    for _ in range(20):
        joined = stream()
        ok(cuda.cuLaunchHostFunc(joined, HOST_NOTHING, None))
        ok(cuda.cuStreamSynchronize(joined))
        ok(cuda.cuStreamBeginCapture_v2(origin, RELAXED))
        ok(cuda.cuEventRecord(recorded, origin))
        ok(cuda.cuStreamWaitEvent(joined, recorded, 0))
        ok(cuda.cuStreamDestroy_v2(joined))
        seen.append(cuda.cuStreamEndCapture(origin, byref(c_void_p())))
    return sorted(set(seen))


def nothing_allocated_and_freed() -> list[int]:
    """Allocations of 0 bytes in stream order succeed, and what they return can be freed; cuMemAlloc refuses them."""
    pool, pointer = c_void_p(), c_uint64(5)
    ok(cuda.cuDeviceGetDefaultMemPool(byref(pool), 0))
    return [
        cuda.cuMemAllocAsync(byref(pointer), c_size_t(0), None),
        cuda.cuMemFreeAsync(pointer, None),
        cuda.cuMemAllocFromPoolAsync(byref(pointer), c_size_t(0), pool, None),
        cuda.cuMemFree_v2(pointer),
        cuda.cuMemAlloc_v2(byref(pointer), c_size_t(0)),
    ]


def shared_memory_needs_opting_in() -> list[int | list[int]]:
    """Launch, and blocks by occupancy: with 48 KiB, a byte more, the same after opting in; then with 0 bytes."""
    module, function, blocks = c_void_p(), c_void_p(), c_int()
    ok(cuda.cuModuleLoadData(byref(module), PTX))
    ok(cuda.cuModuleGetFunction(byref(function), module, b"nothing"))

    def attempt(shared: int) -> list[int]:
        ok(cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(byref(blocks), function, 32, c_size_t(shared)))
        return [cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, shared, None, None, None), blocks.value > 0]

    seen: list[int | list[int]] = [attempt(48 << 10), attempt((48 << 10) + 1)]
    ok(cuda.cuFuncSetAttribute(function, 8, 64 << 10))
    seen.append(attempt((48 << 10) + 1))
    ok(cuda.cuFuncSetAttribute(function, 8, 0))
    return [*seen, cuda.cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 16, None, None, None)]


def names_of_null() -> list[int]:
    """Lookups by a name of NULL are refused."""
    module, found = c_void_p(), c_void_p()
    ok(cuda.cuModuleLoadData(byref(module), PTX))
    return [
        cuda.cuModuleGetFunction(byref(found), module, None),
        cuda.cuModuleGetGlobal_v2(byref(c_uint64()), None, module, None),
        cuda.cuGetProcAddress_v2(None, byref(found), 12000, c_uint64(0), None),
        cuda.cuModuleLoad(byref(module), None),
    ]


def mapped_host_memory_is_device_memory() -> list[object]:
    """Copies to and from mapped host memory, the address range around it, and a copy to other host memory."""
    host, pointer, base, size = c_void_p(), c_uint64(), c_uint64(), c_size_t()
    ok(cuda.cuMemHostAlloc(byref(host), c_size_t(64), 2))
    ok(cuda.cuMemHostGetDevicePointer_v2(byref(pointer), host, 0))
    there = c_uint64(pointer.value + 8)
    number, back = c_uint64(7), c_uint64()
    return [
        cuda.cuMemcpyHtoD_v2(there, byref(number), c_size_t(8)),
        cuda.cuMemcpyDtoH_v2(byref(back), there, c_size_t(8)),
        back.value,
        cuda.cuMemGetAddressRange_v2(byref(base), byref(size), there),
        [there.value - base.value, size.value],
        cuda.cuMemcpyHtoD_v2(c_uint64(ctypes.addressof(back)), byref(number), c_size_t(8)),
    ]


def pools_remember_access() -> list[object]:
    """Access of the last device to a pool of the first, given and revoked; revoking it from the pool's own device."""
    count, flags, pool = c_int(), c_int(), c_void_p()
    ok(cuda.cuDeviceGetCount(byref(count)))
    ok(cuda.cuMemPoolCreate(byref(pool), (c_int * 32)(1, 0, 1, 0)))
    device, none, both = 1, 0, 3
    other = (c_int * 2)(device, count.value - 1)
    seen = []
    for access in (both, none):
        ok(cuda.cuMemPoolSetAccess(pool, (c_int * 3)(*other, access), c_size_t(1)) if count.value > 1 else 0)
        ok(cuda.cuMemPoolGetAccess(byref(flags), pool, other))
        seen.append(flags.value)
    return [*seen, cuda.cuMemPoolSetAccess(pool, (c_int * 3)(device, 0, none), c_size_t(1))]


PINNED, MANAGED = 1, 2
DEVICE, HOST, HOST_NUMA, HOST_NUMA_CURRENT = 1, 2, 3, 4


def free_bytes() -> int:
    free = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), None))
    return free.value


def pools_in_host_memory() -> dict[str, list[int]]:
    """By location: creating a pool, then the GPU memory that 1 GiB takes, type of its memory, bytes kept."""
    seen = {}
    for name, kind in (("host", HOST), ("node", HOST_NUMA), ("nearest node", HOST_NUMA_CURRENT)):
        pool, pointer, memory_type, reserved = c_void_p(), c_uint64(), c_int(), c_uint64()
        seen[name] = [cuda.cuMemPoolCreate(byref(pool), (c_int * 32)(PINNED, 0, kind, 0))]
        if seen[name] != [0]:
            continue
        before = free_bytes()
        ok(cuda.cuMemAllocFromPoolAsync(byref(pointer), c_size_t(1 << 30), pool, None))
        ok(cuda.cuPointerGetAttribute(byref(memory_type), 2, pointer))
        ok(cuda.cuMemPoolGetAttribute(pool, 5, byref(reserved)))
        seen[name] += [before - free_bytes(), memory_type.value, reserved.value]
        ok(cuda.cuMemsetD8Async(pointer, 7, c_size_t(64), None))
        ok(cuda.cuMemFreeAsync(pointer, None))
        ok(cuda.cuStreamSynchronize(None))
        ok(cuda.cuMemPoolDestroy(pool))
    return seen


def pools_by_location_and_type() -> dict[str, list[int]]:
    """Current pool by location and type: the default one; set, got, destroyed; then what wrong places return."""
    seen = {}
    for name, kind, place in (("device", PINNED, DEVICE), ("host", PINNED, HOST), ("managed", MANAGED, DEVICE)):
        location, default, current, made = (c_int * 2)(place, 0), c_void_p(), c_void_p(), c_void_p()
        ok(cuda.cuMemGetDefaultMemPool(byref(default), location, kind))
        ok(cuda.cuMemGetMemPool(byref(current), location, kind))
        first = current.value == default.value
        ok(cuda.cuMemPoolCreate(byref(made), (c_int * 32)(kind, 0, place, 0)))
        ok(cuda.cuMemSetMemPool(location, kind, made))
        ok(cuda.cuMemGetMemPool(byref(current), location, kind))
        second = current.value == made.value
        ok(cuda.cuMemPoolDestroy(made))
        ok(cuda.cuMemGetMemPool(byref(current), location, kind))
        seen[name] = [first, second, current.value == default.value, cuda.cuMemPoolDestroy(default)]
    pool = c_void_p()
    ok(cuda.cuDeviceGetDefaultMemPool(byref(pool), 0))
    seen["wrong"] = [
        cuda.cuMemGetMemPool(byref(pool), (c_int * 2)(HOST_NUMA_CURRENT, 0), PINNED),
        cuda.cuMemGetMemPool(byref(pool), (c_int * 2)(DEVICE, 99), PINNED),
        cuda.cuMemGetMemPool(byref(pool), (c_int * 2)(0, 0), PINNED),
        cuda.cuMemSetMemPool((c_int * 2)(HOST, 0), PINNED, pool),
    ]
    return seen


def graph_memory(attribute: int) -> int:
    found = c_uint64()
    ok(cuda.cuDeviceGetGraphMemAttribute(0, attribute, byref(found)))
    return found.value >> 20


def a_graph_reuses_memory() -> dict[str, list[int]]:
    """8 times 64 MiB, freed in a row, side by side, and captured: addresses, then MiB by attribute, taken, trimmed."""
    seen = {}
    for name in ("row", "sides", "capture"):
        graph, ready, pointers = c_void_p(), c_void_p(), set()
        worker, last = stream(), c_void_p()
        if name == "capture":
            ok(cuda.cuStreamBeginCapture_v2(worker, RELAXED))
            for _ in range(8):
                pointer = c_uint64()
                ok(cuda.cuMemAllocAsync(byref(pointer), c_size_t(64 << 20), worker))
                ok(cuda.cuMemFreeAsync(pointer, worker))
                pointers.add(pointer.value)
            ok(cuda.cuStreamEndCapture(worker, byref(graph)))
        else:
            ok(cuda.cuGraphCreate(byref(graph), 0))
            for _ in range(8):
                wanted, taken, freed = (c_uint64 * 15)(), c_void_p(), c_void_p()
                wanted[0], wanted[1], wanted[13] = PINNED, DEVICE, 64 << 20
                needs = (c_void_p * 1)(last) if last and name == "row" else None
                ok(cuda.cuGraphAddMemAllocNode(byref(taken), graph, needs, c_size_t(1 if needs else 0), wanted))
                ok(cuda.cuGraphAddMemFreeNode(byref(freed), graph, byref(taken), c_size_t(1), c_uint64(wanted[14])))
                last = freed
                pointers.add(wanted[14])
        ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
        before = free_bytes()
        for _ in range(3):
            ok(cuda.cuGraphLaunch(ready, worker))
        ok(cuda.cuStreamSynchronize(worker))
        kept = [graph_memory(each) for each in (0, 1, 2, 3)] + [before - free_bytes() >> 20]
        ok(cuda.cuDeviceGraphMemTrim(0))
        trimmed = [graph_memory(0), graph_memory(2), before - free_bytes()]
        for attribute in (1, 3):
            ok(cuda.cuDeviceSetGraphMemAttribute(0, attribute, byref(c_uint64())))
        seen[name] = [len(pointers), *kept, *trimmed]
    return seen


def a_graph_allocates_where_its_node_says() -> int:
    """MiB that a launch takes of the last device, for a node which names that device."""
    count, graph, ready, node, reserved = c_int(), c_void_p(), c_void_p(), c_void_p(), c_uint64()
    ok(cuda.cuDeviceGetCount(byref(count)))
    wanted = (c_uint64 * 15)()
    wanted[0], wanted[1], wanted[13] = PINNED, DEVICE | (count.value - 1) << 32, 64 << 20
    ok(cuda.cuGraphCreate(byref(graph), 0))
    ok(cuda.cuGraphAddMemAllocNode(byref(node), graph, None, c_size_t(0), wanted))
    ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
    ok(cuda.cuGraphLaunch(ready, None))
    ok(cuda.cuDeviceGetGraphMemAttribute(count.value - 1, 2, byref(reserved)))
    ok(cuda.cuMemFreeAsync(c_uint64(wanted[14]), None))
    ok(cuda.cuCtxSynchronize())
    ok(cuda.cuDeviceGraphMemTrim(count.value - 1))
    return reserved.value >> 20


def later_names() -> dict[str, int | list[int | None]]:
    """By name and CUDA version: whether cuGetProcAddress finds it, and what calling it with the context returns."""
    seen: dict[str, int | list[int | None]] = {}
    for name, version in ((b"cuGreenCtxCreate", 12040), (b"cuLogsCurrent", 12080), (b"cuLogsCurrent", 12090)):
        found = c_void_p()
        status = cuda.cuGetProcAddress_v2(name, byref(found), version, c_uint64(0), byref(c_int()))
        call = ctypes.CFUNCTYPE(c_int, c_void_p)(found.value) if found.value else None
        seen[f"{name.decode()} {version}"] = [status, call(context) if call else None]
    for version in (12090, 13000):
        found, ordinal = c_void_p(), c_int(-1)
        ok(cuda.cuGetProcAddress_v2(b"cuCtxSynchronize", byref(found), version, c_uint64(0), None))
        call = ctypes.CFUNCTYPE(c_int, c_void_p)(found.value or 0)
        ok(cuda.cuCtxSetCurrent(None))
        seen[f"cuCtxSynchronize {version}"] = call(context)
        seen["cuCtxGetDevice_v2"] = [cuda.cuCtxGetDevice_v2(byref(ordinal), context), ordinal.value]
        ok(cuda.cuCtxSetCurrent(context))
    return seen


ok(cuda.cuInit(0))
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
RULES: list[Callable[[], object]] = [
    memory_info_without_outputs,
    queries_while_another_thread_captures,
    user_objects_live_as_long_as_their_graphs,
    nothing_allocated_and_freed,
    shared_memory_needs_opting_in,
    names_of_null,
    mapped_host_memory_is_device_memory,
    pools_remember_access,
    pools_in_host_memory,
    pools_by_location_and_type,
    a_graph_reuses_memory,
    a_graph_allocates_where_its_node_says,
    later_names,
    a_joined_stream_may_be_destroyed,
    a_graph_in_capture_cannot_be_destroyed,
]
print(json.dumps({rule.__name__: rule() for rule in RULES}))
