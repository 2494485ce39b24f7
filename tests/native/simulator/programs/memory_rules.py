"""Rules of real drivers for memory, one function for each. Prints what each one saw as JSON."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

from tests.native.simulator.programs.calls import RELAXED, cuda, ok, report, stream

PINNED, MANAGED = 1, 2
DEVICE, HOST, HOST_NUMA, HOST_NUMA_CURRENT = 1, 2, 3, 4


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


def pools_of_another_gpu() -> list[int]:
    """Copies to the last device's pool from the first: without access, with it, and after it was revoked."""
    count, pool, pointer, work = c_int(), c_void_p(), c_uint64(), stream()
    ok(cuda.cuDeviceGetCount(byref(count)))
    last, seen = count.value - 1, []
    ok(cuda.cuMemPoolCreate(byref(pool), (c_int * 32)(PINNED, 0, DEVICE, last)))
    ok(cuda.cuMemAllocFromPoolAsync(byref(pointer), c_size_t(64), pool, work))
    for access in (None, 3, 0):
        if access is not None and last:
            ok(cuda.cuMemPoolSetAccess(pool, (c_int * 3)(DEVICE, 0, access), c_size_t(1)))
        seen.append(cuda.cuMemsetD8Async(pointer, 1, c_size_t(64), work))
    ok(cuda.cuMemFreeAsync(pointer, work))
    ok(cuda.cuStreamSynchronize(work))
    ok(cuda.cuMemPoolDestroy(pool))
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


def a_larger_allocation_reuses_smaller_ones() -> dict[str, list[int]]:
    """MiB used at most, used, reserved: a graph that frees 2 times 64 MiB, then takes more and keeps it."""
    seen = {}
    for wanted in (128, 192):
        worker, graph, ready, pointer = stream(), c_void_p(), c_void_p(), c_uint64()
        smaller = [c_uint64(), c_uint64()]
        ok(cuda.cuStreamBeginCapture_v2(worker, RELAXED))
        for each in smaller:
            ok(cuda.cuMemAllocAsync(byref(each), c_size_t(64 << 20), worker))
        for each in smaller:
            ok(cuda.cuMemFreeAsync(each, worker))
        ok(cuda.cuMemAllocAsync(byref(pointer), c_size_t(wanted << 20), worker))
        ok(cuda.cuStreamEndCapture(worker, byref(graph)))
        ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
        found = []
        for _ in range(2):
            ok(cuda.cuGraphLaunch(ready, worker))
            ok(cuda.cuStreamSynchronize(worker))
            found += [graph_memory(1), graph_memory(0), graph_memory(2)]
            ok(cuda.cuMemFreeAsync(pointer, worker))
            ok(cuda.cuStreamSynchronize(worker))
        seen[str(wanted)] = [*found, graph_memory(0)]
        ok(cuda.cuGraphExecDestroy(ready))
        ok(cuda.cuGraphDestroy(graph))
        ok(cuda.cuDeviceGraphMemTrim(0))
        for attribute in (1, 3):
            ok(cuda.cuDeviceSetGraphMemAttribute(0, attribute, byref(c_uint64())))
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


def what_is_said_of_managed_memory() -> dict[str, list[int]]:
    """Read mostly, preferred location, its type, accessors, last prefetch: of all, of half, of new memory."""
    pointer, mebibyte, seen = c_uint64(), 1 << 20, {}
    device, host = (c_int * 2)(DEVICE, 0), (c_int * 2)(2, 0)

    def told(start: int, size: int) -> list[int]:
        found = []
        for attribute, count in ((1, 1), (2, 1), (5, 1), (3, 3), (4, 1)):
            answer = (c_int * count)()
            ok(cuda.cuMemRangeGetAttribute(answer, c_size_t(4 * count), attribute, c_uint64(start), c_size_t(size)))
            found += list(answer)
        return found

    ok(cuda.cuMemAllocManaged(byref(pointer), c_size_t(4 * mebibyte), 1))
    half, start = c_size_t(2 * mebibyte), pointer.value
    seen["new"] = told(start, 4 * mebibyte)
    place = c_uint64(int.from_bytes(bytes(device), "little"))
    for advice, where in ((1, place), (3, place), (5, place), (5, c_uint64(int.from_bytes(bytes(host), "little")))):
        ok(cuda.cuMemAdvise_v2(pointer, half, advice, where))
    both, sizes = (c_uint64 * 2)(start, start + half.value), (c_size_t * 2)(half.value, half.value)
    places, indices = (c_int * 4)(*host, *device), (c_size_t * 2)(0, 1)
    batch = [both, sizes, c_size_t(2), places, indices, c_size_t(2), c_uint64(0), stream()]
    ok(cuda.cuMemPrefetchBatchAsync(*batch))
    seen["half"], seen["all"] = told(start, half.value), told(start, 4 * mebibyte)
    ok(cuda.cuMemFree_v2(pointer))
    ok(cuda.cuMemAllocManaged(byref(pointer), c_size_t(4 * mebibyte), 1))
    seen["again"] = told(pointer.value, 4 * mebibyte)
    indices[0] = 1
    seen["refused"] = [
        cuda.cuMemPrefetchBatchAsync(*batch),
        cuda.cuMemDiscardBatchAsync(both, sizes, c_size_t(2), c_uint64(0), None),
        cuda.cuMemRangeGetAttribute(c_int(), c_size_t(4), 9, pointer, half),
    ]
    ok(cuda.cuMemFree_v2(pointer))
    return seen


report(
    mapped_host_memory_is_device_memory,
    pools_remember_access,
    pools_in_host_memory,
    pools_by_location_and_type,
    pools_of_another_gpu,
    a_graph_reuses_memory,
    a_larger_allocation_reuses_smaller_ones,
    a_graph_allocates_where_its_node_says,
    what_is_said_of_managed_memory,
)
