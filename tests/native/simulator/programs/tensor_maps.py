"""Tensor maps: what arguments the driver takes. Prints the status of each call as JSON."""

import ctypes
import json
from ctypes import byref, c_int, c_uint, c_uint64, c_void_p
from typing import Any

cuda = ctypes.CDLL("libcuda.so.1")
FLOAT16, UINT8, U4_PACKED, U6_PACKED = 6, 0, 13, 15
INTERLEAVE_16, INTERLEAVE_32 = 1, 2
SWIZZLE_32, SWIZZLE_64, SWIZZLE_128, SWIZZLE_ATOM_64 = 1, 2, 3, 6
ALIGNMENT = 64
room = ctypes.create_string_buffer(4 * ALIGNMENT)
MAP = (ctypes.addressof(room) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
TILED: dict[str, Any] = {
    "map": MAP, "type": FLOAT16, "rank": 3, "address": 1 << 20, "sizes": [64, 32, 8], "strides": [128, 4096],
    "box": [32, 8, 4], "steps": [1, 1, 1], "interleave": 0, "swizzle": 0, "promotion": 0, "fill": 0,
}  # fmt: skip
IM2COL: dict[str, Any] = {
    "map": MAP, "type": FLOAT16, "rank": 3, "address": 1 << 20, "sizes": [64, 32, 8], "strides": [128, 4096],
    "lower": [-1], "upper": [1], "channels": 32, "pixels": 64, "steps": [1, 1, 1], "interleave": 0, "swizzle": 0,
    "promotion": 0, "fill": 0,
}  # fmt: skip
WIDE: dict[str, Any] = {
    "map": MAP, "type": FLOAT16, "rank": 3, "address": 1 << 20, "sizes": [64, 32, 8], "strides": [128, 4096],
    "lower": -1, "upper": 1, "channels": 32, "pixels": 64, "steps": [1, 1, 1], "interleave": 0, "mode": 0,
    "swizzle": SWIZZLE_64, "promotion": 0, "fill": 0,
}  # fmt: skip
ARRAYS = {"sizes": c_uint64, "strides": c_uint64, "lower": c_int, "upper": c_int, "box": c_uint, "steps": c_uint}


def call(name: str, usual: dict[str, Any], **other: object) -> int:
    """The status of the call with usual arguments, but for these."""

    def value(key: str, given: Any) -> Any:
        if given is None or key in ("map", "address"):
            return c_void_p(given)
        return (ARRAYS[key] * len(given))(*given) if isinstance(given, list) else c_int(given)

    return int(getattr(cuda, name)(*(value(key, given) for key, given in (usual | other).items())))


def tiled(**other: object) -> int:
    return call("cuTensorMapEncodeTiled", TILED, **other)


def im2col(**other: object) -> int:
    return call("cuTensorMapEncodeIm2col", IM2COL, **other)


def wide(**other: object) -> int:
    return call("cuTensorMapEncodeIm2colWide", WIDE, **other)


def replaced() -> list[int]:
    """A new address in a map, an address that isn't aligned, and a place that holds no map."""
    found = c_uint()
    tiled()
    kept = [cuda.cuTensorMapReplaceAddress(c_void_p(MAP), c_void_p(place)) for place in (2 << 20, (2 << 20) + 8)]
    kept += [cuda.cuTensorMapSetAllocationClass(c_void_p(MAP), wanted, byref(found)) for wanted in (2, 3)]
    ctypes.memset(MAP, 0, 2 * ALIGNMENT)
    return [*kept, found.value, cuda.cuTensorMapReplaceAddress(c_void_p(MAP), c_void_p(2 << 20))]


context = c_void_p()
assert cuda.cuInit(0) == 0
without_context = tiled()
assert cuda.cuDevicePrimaryCtxRetain(byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
TAKEN = [
    tiled(),
    tiled(rank=1, sizes=[64], strides=None, box=[32], steps=[1]),
    tiled(steps=[0, 8, 1]),
    tiled(swizzle=SWIZZLE_64),
    tiled(interleave=INTERLEAVE_32, swizzle=SWIZZLE_32, box=[16, 8, 4]),
    tiled(fill=1),
    tiled(type=U6_PACKED, sizes=[256, 32, 8], box=[128, 8, 4], swizzle=SWIZZLE_ATOM_64),
    im2col(),
    im2col(rank=5, sizes=[64, 32, 8, 8, 8], strides=[128] * 4, lower=[-16] * 3, upper=[15] * 3, steps=[1] * 5),
]
REFUSED = {
    "a map that isn't aligned": tiled(map=MAP + 16),
    "a type that there isn't": tiled(type=16),
    "no dimension": tiled(rank=0),
    "six dimensions": tiled(rank=6, sizes=[64] * 6, strides=[128] * 5, box=[32] * 6, steps=[1] * 6),
    "two dimensions interleaved": tiled(rank=2, interleave=INTERLEAVE_16),
    "an address that isn't aligned": tiled(address=(1 << 20) + 8),
    "an address that isn't aligned for 32": tiled(address=(1 << 20) + 16, interleave=2, swizzle=1, box=[16, 8, 4]),
    "a size of 0": tiled(sizes=[64, 0, 8]),
    "a size beyond 2^31": tiled(sizes=[64, (1 << 31) + 1, 8]),
    "an odd size of packed values": tiled(type=U4_PACKED, sizes=[65, 32, 8]),
    "a stride that is no multiple of 16": tiled(strides=[120, 4096]),
    "a stride of 2^40": tiled(strides=[128, 1 << 40]),
    "a box of 0": tiled(box=[32, 0, 4]),
    "a box beyond 256": tiled(box=[32, 257, 4]),
    "a box that is no multiple of 16 bytes": tiled(box=[4, 8, 4]),
    "a step of 9": tiled(steps=[1, 9, 1]),
    "a box wider than the swizzle": tiled(swizzle=SWIZZLE_32),
    "a swizzle that interleaving doesn't have": tiled(interleave=INTERLEAVE_32, swizzle=SWIZZLE_64),
    "a swizzle that packed values don't have": tiled(type=U6_PACKED, sizes=[256, 1, 1], box=[128, 1, 1], swizzle=2),
    "a promotion that there isn't": tiled(promotion=4),
    "NaN for integers": tiled(type=UINT8, fill=1),
    "im2col of two dimensions": im2col(rank=2),
    "a corner too far away": im2col(
        rank=5, sizes=[64, 9, 8, 8, 8], strides=[128] * 4, lower=[-17, 0, 0], upper=[0] * 3, steps=[1] * 5
    ),
    "nothing between the corners": im2col(lower=[33], upper=[1]),
    "too many channels": im2col(channels=264),
    "too many pixels": im2col(pixels=1025),
}  # fmt: skip
WIDE_CALLS = [wide(), wide(pixels=1025), wide(pixels=1025, mode=1), wide(swizzle=0), wide(mode=2)]
print(
    json.dumps(
        {
            "without a context": without_context,
            "taken": TAKEN,
            "refused": REFUSED,
            "wide": WIDE_CALLS,
            "replaced": replaced(),
        }
    )
)
