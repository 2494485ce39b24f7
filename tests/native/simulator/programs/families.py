"""Every family of allocations through cuda-bindings: what each takes from the GPU and gives back. Prints JSON."""

import ctypes
import json
import multiprocessing
from typing import Any, Self

import numpy
from cuda.bindings import driver

MIB = 1 << 20


def ok(answer: Any) -> Any:
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer[0]
    return answer[1] if len(answer) == 2 else answer[1:]


def code(answer: Any) -> int:
    return int(answer[0])


def start() -> None:
    ok(driver.cuInit(0))
    context = ok(driver.cuDevicePrimaryCtxRetain(0))
    ok(driver.cuCtxSetCurrent(context))


def free() -> int:
    return int(ok(driver.cuMemGetInfo())[0])


class Taken:
    """MiB that the GPU lost while the family was held, and what it lacks after."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Self:
        self.before = free()
        return self

    def held(self) -> None:
        seen[self.name] = [(self.before - free()) // MIB]

    def __exit__(self, *_: object) -> None:
        seen[self.name].append((self.before - free()) // MIB)


def device_memory() -> Any:
    wanted = driver.CUmemAllocationProp()
    wanted.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    wanted.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    wanted.location.id = 0
    wanted.requestedHandleTypes = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
    return wanted


def open_elsewhere(handle_bytes: Any, answer: Any) -> Any:
    start()
    handle = driver.CUipcMemHandle()
    ctypes.memmove(int(handle.getPtr()), handle_bytes, 64)
    pointer = ok(driver.cuIpcOpenMemHandle(handle, 1))
    host = numpy.zeros(16, dtype=numpy.uint8)
    ok(driver.cuMemcpyDtoH(host.ctypes.data, pointer, 16))
    ok(driver.cuMemsetD8(pointer, 5, 16))
    ok(driver.cuIpcCloseMemHandle(pointer))
    answer.put(host.tolist())


def main() -> None:
    start()
    with Taken("linear") as taken:
        pointer = ok(driver.cuMemAlloc(100 * MIB))
        taken.held()
        ok(driver.cuMemFree(pointer))
    with Taken("small") as taken:
        pointers = [ok(driver.cuMemAlloc(1000)) for _ in range(2048)]
        taken.held()
        assert len(set(map(int, pointers))) == 2048
        assert all(int(pointer) % 512 == 0 for pointer in pointers)
        for pointer in pointers:
            ok(driver.cuMemFree(pointer))
    with Taken("pitched") as taken:
        pointer, pitch = ok(driver.cuMemAllocPitch(1000, 10240, 4))
        seen["pitch"] = pitch
        taken.held()
        ok(driver.cuMemFree(pointer))
    with Taken("managed") as taken:
        pointer = ok(driver.cuMemAllocManaged(64 * MIB, 1))
        taken.held()
        ok(driver.cuMemFree(pointer))

    with Taken("array") as taken:
        wanted = driver.CUDA_ARRAY3D_DESCRIPTOR()
        wanted.Width, wanted.Height, wanted.Depth = 1024, 1024, 16
        wanted.Format = driver.CUarray_format.CU_AD_FORMAT_FLOAT
        wanted.NumChannels = 1
        array = ok(driver.cuArray3DCreate(wanted))
        taken.held()
        given = numpy.arange(1024, dtype=numpy.float32)
        back = numpy.zeros(1024, dtype=numpy.float32)
        ok(driver.cuMemcpyHtoA(array, 0, given.ctypes.data, 4096))
        ok(driver.cuMemcpyAtoH(back.ctypes.data, array, 0, 4096))
        seen["array_same"] = bool((given == back).all())
        seen["array_beyond"] = code(driver.cuMemcpyHtoA(array, 4, given.ctypes.data, 4096))
        ok(driver.cuArrayDestroy(array))
    with Taken("mipmap") as taken:
        wanted.Depth = 0
        mipmap = ok(driver.cuMipmappedArrayCreate(wanted, 20))
        taken.held()
        level = ok(driver.cuMipmappedArrayGetLevel(mipmap, 10))
        described = ok(driver.cuArray3DGetDescriptor(level))
        seen["last_level"] = [described.Width, described.Height]
        seen["no_level"] = code(driver.cuMipmappedArrayGetLevel(mipmap, 11))
        ok(driver.cuMipmappedArrayDestroy(mipmap))

    stream = ok(driver.cuStreamCreate(1))
    with Taken("pool") as taken:
        pointer = ok(driver.cuMemAllocAsync(48 * MIB, stream))
        taken.held()
        pool = ok(driver.cuDeviceGetDefaultMemPool(0))
        used = driver.CUmemPool_attribute.CU_MEMPOOL_ATTR_USED_MEM_CURRENT
        seen["pool_used"] = int(ok(driver.cuMemPoolGetAttribute(pool, used)))
        ok(driver.cuMemFreeAsync(pointer, stream))
        ok(driver.cuStreamSynchronize(stream))
        seen["pool_after"] = int(ok(driver.cuMemPoolGetAttribute(pool, used)))

    with Taken("virtual") as taken:
        wanted = device_memory()
        minimum = driver.CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_MINIMUM
        seen["granularity"] = ok(driver.cuMemGetAllocationGranularity(wanted, minimum))
        seen["odd_size"] = code(driver.cuMemCreate(1000, wanted, 0))
        memory = ok(driver.cuMemCreate(32 * MIB, wanted, 0))
        taken.held()
        addresses = ok(driver.cuMemAddressReserve(64 * MIB, 0, 0, 0))
        ok(driver.cuMemMap(addresses, 32 * MIB, 0, memory, 0))
        seen["twice"] = code(driver.cuMemMap(addresses, 32 * MIB, 0, memory, 0))
        seen["no_access"] = code(driver.cuMemsetD8(addresses, 1, 16))
        access = driver.CUmemAccessDesc()
        access.location = wanted.location
        access.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        ok(driver.cuMemSetAccess(addresses, 32 * MIB, [access], 1))
        ok(driver.cuMemsetD8(addresses, 3, 32 * MIB))
        seen["behind_mapping"] = code(driver.cuMemsetD8(addresses, 3, 32 * MIB + 1))
        ok(driver.cuMemRelease(memory))
        seen["released_but_mapped"] = (taken.before - free()) // MIB
        seen["reserved_in_use"] = code(driver.cuMemAddressFree(addresses, 64 * MIB))
        ok(driver.cuMemUnmap(addresses, 32 * MIB))
        ok(driver.cuMemAddressFree(addresses, 64 * MIB))

    with Taken("host") as taken:
        pointer = ok(driver.cuMemHostAlloc(64 * MIB, 2))
        taken.held()
        seen["host_device_pointer"] = int(ok(driver.cuMemHostGetDevicePointer(pointer, 0))) == int(pointer)
        ok(driver.cuMemFreeHost(pointer))
        mine = numpy.zeros(8192, dtype=numpy.uint8)
        ok(driver.cuMemHostRegister(mine.ctypes.data, 8192, 0))
        seen["registered_twice"] = code(driver.cuMemHostRegister(mine.ctypes.data, 8192, 0))
        ok(driver.cuMemHostUnregister(mine.ctypes.data))
        seen["not_registered"] = code(driver.cuMemHostUnregister(mine.ctypes.data))

    with Taken("graph") as taken:
        wanted = driver.CUDA_MEM_ALLOC_NODE_PARAMS()
        wanted.poolProps.allocType = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        wanted.poolProps.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        wanted.bytesize = 80 * MIB
        graph = ok(driver.cuGraphCreate(0))
        ok(driver.cuGraphAddMemAllocNode(graph, None, 0, wanted))
        ready = ok(driver.cuGraphInstantiate(graph, 0))
        seen["graph_before"] = (taken.before - free()) // MIB
        ok(driver.cuGraphLaunch(ready, stream))
        taken.held()
        seen["graph_again"] = code(driver.cuGraphLaunch(ready, stream))
        ok(driver.cuMemFreeAsync(wanted.dptr, stream))
        ok(driver.cuStreamSynchronize(stream))
        ok(driver.cuGraphExecDestroy(ready))
        ok(driver.cuGraphDestroy(graph))
        ok(driver.cuDeviceGraphMemTrim(0))

    pointer = ok(driver.cuMemAlloc(4 * MIB))
    ok(driver.cuMemsetD8(pointer, 4, 4 * MIB))
    handle = ok(driver.cuIpcGetMemHandle(pointer))
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    other = spawn.Process(target=open_elsewhere, args=(ctypes.string_at(int(handle.getPtr()), 64), answer))
    other.start()
    seen["other_read"] = answer.get(timeout=60)
    other.join()
    host = numpy.zeros(17, dtype=numpy.uint8)
    ok(driver.cuMemcpyDtoH(host.ctypes.data, pointer, 17))
    seen["other_wrote"] = host.tolist()
    ok(driver.cuMemFree(pointer))
    print(json.dumps(seen))


seen: dict[str, Any] = {}
if __name__ == "__main__":
    main()
