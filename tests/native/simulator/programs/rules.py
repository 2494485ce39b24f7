"""Rules of real drivers that programs depend on, one function for each. Prints what each one saw as JSON."""

import ctypes
import functools
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

from tests.native.simulator.programs.calls import (
    GLOBAL,
    RELAXED,
    THREAD_LOCAL,
    context,
    cuda,
    event,
    ok,
    report,
    stream,
)

PTX = b""".version 8.0
.target sm_80
.address_size 64
.visible .entry nothing() { ret; }
"""
HOST_FUNCTION = ctypes.CFUNCTYPE(None, c_void_p)
HOST_NOTHING = HOST_FUNCTION(lambda _: None)


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


def a_joined_stream_may_be_destroyed() -> list[list[int]]:
    """The ends of captures whose joined stream was destroyed: without work, with work, with work that was joined back.

    A thread of the driver still serves that stream.
    """
    origin, recorded = stream(), event()
    seen = []
    for work, back in [(False, False), (True, False), (True, True)] * 7:
        joined = stream()
        ok(cuda.cuLaunchHostFunc(joined, HOST_NOTHING, None))
        ok(cuda.cuStreamSynchronize(joined))
        ok(cuda.cuStreamBeginCapture_v2(origin, RELAXED))
        ok(cuda.cuEventRecord(recorded, origin))
        ok(cuda.cuStreamWaitEvent(joined, recorded, 0))
        if work:
            ok(cuda.cuLaunchHostFunc(joined, HOST_NOTHING, None))
        if back:
            ok(cuda.cuEventRecord(recorded, joined))
            ok(cuda.cuStreamWaitEvent(origin, recorded, 0))
        ok(cuda.cuStreamDestroy_v2(joined))
        seen.append([work, back, cuda.cuStreamEndCapture(origin, byref(c_void_p()))])
    return sorted(map(list, set(map(tuple, seen))))


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


def later_names() -> dict[str, int | list[int | None]]:
    """By name and CUDA version: whether cuGetProcAddress finds it, and what calling it with the context returns."""
    seen: dict[str, int | list[int | None]] = {}
    for name, version in ((b"cuGraphAddBatchMemOpNode", 12000), (b"cuLogsCurrent", 12080), (b"cuLogsCurrent", 12090)):
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


report(
    memory_info_without_outputs,
    queries_while_another_thread_captures,
    user_objects_live_as_long_as_their_graphs,
    nothing_allocated_and_freed,
    shared_memory_needs_opting_in,
    names_of_null,
    later_names,
    a_joined_stream_may_be_destroyed,
    a_graph_in_capture_cannot_be_destroyed,
)
