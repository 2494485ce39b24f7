"""A program for NVIDIA's cuda-bindings that takes memory of each family until refused. Prints what it saw as JSON."""

import json
from collections.abc import Callable
from typing import Any

from cuda.bindings import driver

MIB = 1 << 20
PIECE = 256 * MIB
Family = tuple[Any, Callable[[Any], object]]
"""The driver's answer, and how to free what it gave."""


def ok(answer: Any) -> Any:
    assert answer[0] == driver.CUresult.CUDA_SUCCESS, answer[0]
    return answer[1] if len(answer) == 2 else answer[1:]


def linear() -> Family:
    return driver.cuMemAlloc(PIECE), lambda pointer: ok(driver.cuMemFree(pointer))


def managed() -> Family:
    attach = driver.CUmemAttach_flags.CU_MEM_ATTACH_GLOBAL
    return driver.cuMemAllocManaged(PIECE, attach), lambda pointer: ok(driver.cuMemFree(pointer))


def pool() -> Family:
    return driver.cuMemAllocAsync(PIECE, stream), lambda pointer: ok(driver.cuMemFreeAsync(pointer, stream))


def physical() -> Family:
    wanted = driver.CUmemAllocationProp()
    wanted.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    wanted.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    return driver.cuMemCreate(PIECE, wanted, 0), lambda handle: ok(driver.cuMemRelease(handle))


def graph() -> Family:
    wanted = driver.CUDA_MEM_ALLOC_NODE_PARAMS()
    wanted.poolProps.allocType = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    wanted.poolProps.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    wanted.bytesize = PIECE
    made = ok(driver.cuGraphCreate(0))
    ok(driver.cuGraphAddMemAllocNode(made, None, 0, wanted))
    ready = ok(driver.cuGraphInstantiate(made, 0))
    (error,) = driver.cuGraphLaunch(ready, stream)
    return (error, int(wanted.dptr)), lambda pointer: ok(driver.cuMemFreeAsync(pointer, stream))


ok(driver.cuInit(0))
device = ok(driver.cuDeviceGet(0))
ok(driver.cuCtxSetCurrent(ok(driver.cuDevicePrimaryCtxRetain(device))))
stream = ok(driver.cuStreamCreate(1))
free, total = ok(driver.cuMemGetInfo())
seen = {"total": total // MIB, "fit": free // PIECE, "device_total": ok(driver.cuDeviceTotalMem(device)) // MIB}
for family in (linear, managed, pool, physical, graph):
    held = []
    while True:
        answer, give_back = family()
        if answer[0] != driver.CUresult.CUDA_SUCCESS:
            break
        held.append(answer[1])
    seen[family.__name__] = [len(held), answer[0].name]
    for piece in held:
        give_back(piece)
    ok(driver.cuStreamSynchronize(stream))
    ok(driver.cuDeviceGraphMemTrim(device))
    ok(driver.cuMemPoolTrimTo(ok(driver.cuDeviceGetDefaultMemPool(device)), 0))
seen["left"] = (free - ok(driver.cuMemGetInfo())[0]) // MIB
print(json.dumps(seen))
