"""Memory and semaphores of other APIs, and multicast objects. Prints what each rule's function saw as JSON."""

import ctypes
import json
import os
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")
OPAQUE_FD, WIN32, DMABUF, TIMELINE = 1, 2, 9, 9
PINNED, DEVICE, FILE_DESCRIPTOR, READ_WRITE = 1, 1, 1, 3
MULTICAST_SUPPORTED = 132
NOT_READY = 600
GRANULE = 2 << 20


class Memory(ctypes.Structure):
    _fields_ = [("type", c_uint), ("fd", c_int), ("rest", c_uint * 4), ("size", c_uint64), ("end", c_uint * 18)]


class Buffer(ctypes.Structure):
    _fields_ = [("offset", c_uint64), ("size", c_uint64), ("rest", c_uint * 18)]


class Semaphore(ctypes.Structure):
    _fields_ = [("type", c_uint), ("fd", c_uint64), ("rest", c_uint * 20)]


class Value(ctypes.Structure):
    _fields_ = [("value", c_uint64), ("rest", c_uint64 * 17)]


class NodeOfSemaphores(ctypes.Structure):
    _fields_ = [("semaphores", c_void_p), ("params", c_void_p), ("count", c_uint), ("context", c_void_p)]


class NodeParams(ctypes.Structure):
    _fields_ = [("type", c_uint), ("zeros", c_uint * 3), ("of", NodeOfSemaphores), ("rest", c_uint64 * 26)]


class Team(ctypes.Structure):
    _fields_ = [("devices", c_uint), ("size", c_size_t), ("handle_types", c_uint64), ("flags", c_uint64)]


def memory(size: int, fd: int, kind: int = OPAQUE_FD) -> Memory:
    found = Memory(type=kind, size=size)
    ctypes.memmove(ctypes.addressof(found) + 8, byref(c_int(fd)), 4)
    return found


def ok(status: int) -> None:
    assert status == 0, status


def stream() -> c_void_p:
    made = c_void_p()
    ok(cuda.cuStreamCreate(byref(made), 1))
    return made


def free_mib() -> int:
    free = c_size_t()
    ok(cuda.cuMemGetInfo_v2(byref(free), None))
    return free.value >> 20


def physical(size: int, device: int = 0) -> c_uint64:
    made = c_uint64()
    ok(cuda.cuMemCreate(byref(made), c_size_t(size), (c_int * 8)(PINNED, FILE_DESCRIPTOR, DEVICE, device), c_uint64(0)))
    return made


def exported(handle: c_uint64) -> int:
    fd = c_int()
    ok(cuda.cuMemExportToShareableHandle(byref(fd), handle, FILE_DESCRIPTOR, c_uint64(0)))
    return fd.value


def mapped(handle: c_uint64, size: int) -> c_uint64:
    start = c_uint64()
    ok(cuda.cuMemAddressReserve(byref(start), c_size_t(size), c_size_t(0), c_uint64(0), c_uint64(0)))
    ok(cuda.cuMemMap(start, c_size_t(size), c_size_t(0), handle, c_uint64(0)))
    ok(cuda.cuMemSetAccess(start, c_size_t(size), (c_int * 3)(DEVICE, 0, READ_WRITE), c_size_t(1)))
    return start


def memory_of_another_api() -> list[object]:
    """What was written there, what it costs the importer, frees and uses after them; refusals."""
    made, found, pointer, value = physical(2 * GRANULE), c_void_p(), c_uint64(), c_uint()
    own, before = mapped(made, 2 * GRANULE), free_mib()
    ok(cuda.cuImportExternalMemory(byref(found), byref(memory(2 * GRANULE, exported(made)))))
    ok(cuda.cuExternalMemoryGetMappedBuffer(byref(pointer), found, byref(Buffer(offset=GRANULE, size=GRANULE))))
    ok(cuda.cuMemsetD32_v2(pointer, 7, c_size_t(4)))
    ok(cuda.cuMemcpyDtoH_v2(byref(value), c_uint64(own.value + GRANULE), c_size_t(4)))
    cost = before - free_mib()
    beyond = cuda.cuExternalMemoryGetMappedBuffer(byref(c_uint64()), found, byref(Buffer(offset=GRANULE, size=4 << 20)))
    ok(cuda.cuDestroyExternalMemory(found))
    still = cuda.cuMemsetD32_v2(pointer, 8, c_size_t(4))
    freed = [cuda.cuMemFree_v2(pointer), cuda.cuMemsetD32_v2(pointer, 8, c_size_t(4))]
    fd = exported(made)
    refused = [
        cuda.cuImportExternalMemory(byref(found), byref(memory(GRANULE, fd, WIN32))),
        cuda.cuImportExternalMemory(byref(found), byref(memory(4 * GRANULE, fd, DMABUF))),
        cuda.cuImportExternalMemory(byref(found), byref(memory(64, os.memfd_create("other")))),
        beyond,
    ]
    return [value.value, cost, still, freed, refused]


def semaphores_of_another_api() -> dict[str, list[int]]:
    """A wait before and after the signal, and what a stream signals: binary ones, timelines, in a graph."""
    event, seen = c_void_p(), {}
    ok(cuda.cuEventCreate(byref(event), 0))
    for name, kind in (("binary", OPAQUE_FD), ("timeline", TIMELINE)):
        files = [os.eventfd(0) if kind == OPAQUE_FD else os.memfd_create("timeline") for _ in range(2)]
        imported = [c_void_p() for _ in files]
        for file, each in zip(files, imported, strict=True):
            if kind == TIMELINE:
                os.ftruncate(file, 8)
            copy = os.dup(file)
            ok(cuda.cuImportExternalSemaphore(byref(each), byref(Semaphore(type=kind, fd=copy))))
        for way in ("stream", "graph"):
            worker = stream()
            if way == "graph":
                graph, ready = c_void_p(), c_void_p()
                ok(cuda.cuStreamBeginCapture_v2(worker, 2))
            ok(cuda.cuWaitExternalSemaphoresAsync(byref(imported[0]), byref(Value(value=5)), 1, worker))
            ok(cuda.cuSignalExternalSemaphoresAsync(byref(imported[1]), byref(Value(value=6)), 1, worker))
            if way == "graph":
                ok(cuda.cuStreamEndCapture(worker, byref(graph)))
                ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
                ok(cuda.cuGraphLaunch(ready, worker))
            ok(cuda.cuEventRecord(event, worker))
            before = cuda.cuEventQuery(event)
            if kind == OPAQUE_FD:
                os.eventfd_write(files[0], 1)
            else:
                os.pwrite(files[0], (5).to_bytes(8, "little"), 0)
            ok(cuda.cuStreamSynchronize(worker))
            signalled = os.eventfd_read(files[1]) if kind == OPAQUE_FD else os.pread(files[1], 8, 0)[0]
            seen[f"{name}, {way}"] = [before, cuda.cuEventQuery(event), signalled]
            if kind == TIMELINE:
                os.pwrite(files[0], bytes(8), 0)
        for each in imported:
            ok(cuda.cuDestroyExternalSemaphore(each))
    return seen


SIGNAL_NODE, WAIT_NODE = 8, 9


def timelines(count: int) -> tuple[list[int], ctypes.Array[c_void_p]]:
    """Semaphores with a counter each: the files that hold them, and their handles."""
    files, imported = [os.memfd_create("timeline") for _ in range(count)], (c_void_p * count)()
    for place, file in enumerate(files):
        os.ftruncate(file, 8)
        made = c_void_p()
        ok(cuda.cuImportExternalSemaphore(byref(made), byref(Semaphore(type=TIMELINE, fd=os.dup(file)))))
        imported[place] = made.value
    return files, imported


def counters(files: list[int]) -> list[int]:
    return [int.from_bytes(os.pread(file, 8, 0), "little") for file in files]


def node_of(semaphores: "ctypes.Array[c_void_p]", values: list[int]) -> NodeOfSemaphores:
    """What a node is to do with the semaphores; the arrays that it points to live as long as it does."""
    params = (Value * len(values))(*(Value(value=value) for value in values))
    found = NodeOfSemaphores(ctypes.addressof(semaphores), ctypes.addressof(params), len(values))
    found.arrays = (semaphores, params)
    return found


def launched(graph: c_void_p) -> c_void_p:
    """A graph made ready and run to its end."""
    ready, worker = c_void_p(), stream()
    ok(cuda.cuGraphInstantiateWithFlags(byref(ready), graph, c_uint64(0)))
    ok(cuda.cuGraphLaunch(ready, worker))
    ok(cuda.cuStreamSynchronize(worker))
    return ready


def type_of(node: c_void_p) -> int:
    found = c_int()
    ok(cuda.cuGraphNodeGetType(node, byref(found)))
    return found.value


def semaphores_as_nodes() -> dict[str, object]:
    """Two semaphores of one node: signalled by it, told, changed, in an executable graph, captured; and refusals."""
    files, both = timelines(2)
    graph, node, waits, general = c_void_p(), c_void_p(), c_void_p(), c_void_p()
    ok(cuda.cuGraphCreate(byref(graph), 0))
    wanted = node_of(both, [3, 4])
    ok(cuda.cuGraphAddExternalSemaphoresSignalNode(byref(node), graph, None, c_size_t(0), byref(wanted)))
    ok(cuda.cuGraphAddExternalSemaphoresWaitNode(byref(waits), graph, byref(node), c_size_t(1), byref(wanted)))
    seen: dict[str, object] = {"types": [type_of(node), type_of(waits)]}
    ready = launched(graph)
    seen["signalled"] = counters(files)

    told, of_any = NodeOfSemaphores(), NodeParams()
    ok(cuda.cuGraphExternalSemaphoresSignalNodeGetParams(node, byref(told)))
    ok(cuda.cuGraphNodeGetParams(waits, byref(of_any)))
    values = ctypes.cast(told.params, ctypes.POINTER(Value))
    handles = ctypes.cast(told.semaphores, ctypes.POINTER(c_void_p))
    seen["told"] = [told.count, [values[i].value for i in range(2)], [handles[i] == both[i] for i in range(2)]]
    seen["told of any"] = [of_any.type, of_any.of.count]

    higher = node_of(both, [5, 6])
    ok(cuda.cuGraphExecExternalSemaphoresSignalNodeSetParams(ready, node, byref(higher)))
    worker = stream()
    ok(cuda.cuGraphLaunch(ready, worker))
    ok(cuda.cuStreamSynchronize(worker))
    seen["changed when ready"] = counters(files)
    ok(cuda.cuGraphExternalSemaphoresSignalNodeSetParams(node, byref(node_of(both, [7, 8]))))
    ok(cuda.cuGraphNodeSetParams(waits, byref(NodeParams(type=WAIT_NODE, of=higher))))
    ok(cuda.cuGraphAddNode(byref(general), graph, None, c_size_t(0), byref(NodeParams(type=SIGNAL_NODE, of=higher))))
    launched(graph)
    seen["general"] = type_of(general)

    one = node_of(both, [9])
    stranger = node_of((c_void_p * 1)(4096), [1])
    seen["refused"] = [
        cuda.cuGraphExecExternalSemaphoresSignalNodeSetParams(ready, node, byref(one)),
        cuda.cuGraphExternalSemaphoresWaitNodeGetParams(node, byref(told)),
        cuda.cuGraphAddExternalSemaphoresSignalNode(byref(c_void_p()), graph, None, c_size_t(0), byref(stranger)),
        cuda.cuGraphAddExternalSemaphoresSignalNode(
            byref(c_void_p()), graph, None, c_size_t(0), byref(NodeOfSemaphores())
        ),
    ]

    captured, count = c_void_p(), c_size_t()
    ok(cuda.cuStreamBeginCapture_v2(worker, 2))
    ok(cuda.cuSignalExternalSemaphoresAsync(both, ctypes.c_void_p(higher.params), 2, worker))
    ok(cuda.cuStreamEndCapture(worker, byref(captured)))
    ok(cuda.cuGraphGetNodes(captured, None, byref(count)))
    seen["captured"] = count.value
    return seen


def multicast_objects() -> dict[str, object]:
    """Whether a GPU takes part; joining; binding; what is held; mapping. On other machines: the first two."""
    supported, team, size = c_int(), c_uint64(), c_size_t()
    ok(cuda.cuDeviceGetAttribute(byref(supported), MULTICAST_SUPPORTED, 0))
    wanted = Team(devices=2, size=2 * GRANULE)
    created = cuda.cuMulticastCreate(byref(team), byref(wanted))
    if created:
        return {"supported": [supported.value, created]}
    ok(cuda.cuMulticastGetGranularity(byref(size), byref(wanted), 0))
    joining = [cuda.cuMulticastAddDevice(team, each) for each in (0, 0, 1, 2)]
    before = free_mib()
    parts = [physical(2 * GRANULE, each) for each in range(3)]
    everything, half = c_size_t(2 * GRANULE), c_size_t(GRANULE)
    start, flags = c_size_t(0), c_uint64(0)
    binding = [
        cuda.cuMulticastBindMem(team, start, parts[0], start, everything, flags),
        cuda.cuMulticastBindMem(team, half, parts[0], start, half, flags),
        cuda.cuMulticastBindMem_v2(team, 1, start, parts[1], start, everything, flags),
        cuda.cuMulticastBindMem(team, start, parts[2], start, half, flags),
        cuda.cuMulticastBindMem(team, half, parts[1], start, everything, flags),
    ]
    address = mapped(team, 2 * GRANULE)
    for each in parts:
        ok(cuda.cuMemRelease(each))
    held = before - free_mib()
    unbound = [cuda.cuMulticastUnbind(team, 0, start, each) for each in (half, everything)]
    after = before - free_mib()
    ok(cuda.cuMemUnmap(address, everything))
    return {
        "supported": [supported.value, created, size.value],
        "joining": joining,
        "binding": binding,
        "held": [held, after],
        "unbound": unbound,
        "released": cuda.cuMemRelease(team),
    }


context = c_void_p()
ok(cuda.cuInit(0))
ok(cuda.cuDevicePrimaryCtxRetain(byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
print(
    json.dumps(
        {
            rule.__name__: rule()
            for rule in (memory_of_another_api, semaphores_of_another_api, semaphores_as_nodes, multicast_objects)
        }
    )
)
