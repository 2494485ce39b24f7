"""The usage file: what a container's processes have taken, written by libvgpu and read by the exporter.

Fixed layout, little endian; `libvgpu/layout.h` has the same in C, and a test pins every offset. All zero is a valid
empty file, so the node agent only has to make it as long as it must be, and writable for every user of the container.
A process that lives holds a POSIX write lock on the byte `LOCKS_OFFSET + slot` (past the end of the file, where nothing
is stored); the kernel releases it when the process ends, however it ends, so that a reader in another pid namespace can
tell the living from the dead.

    offset  size   field
    0       4      magic "UGUS", 0 before first use
    4       4      version
    128     64n    GPUs' totals:  0 8 bytes in use · 8 8 last change: slot + 1 in the upper 16 bits, its number below
                                   16 8 highest use, bytes · 24 8 refused allocations · 32 8 cost of a context, bytes
    1152    128n   GPUs' compute: 0 8 balance: GPU time that may be used at once, ns, negative in debt
                                   8 8 CLOCK_MONOTONIC until which it is earned, ns · 16 8 GPU time charged ever, ns
                                   24 8 time that launches waited, ns · 32 8 launches that waited
                                   40 8 CLOCK_MONOTONIC up to which time is given out to long kernels, ns
                                   48 8 CLOCK_MONOTONIC until which the one that is served sleeps, ns
                                   56 8 CLOCK_MONOTONIC of a launch whose cost isn't known yet, ns; 0 none
                                   64 4 next turn · 68 4 turn that is served
                                   72 56 as 40, for those of 50 ms and longer, of 100 ms, 200 ms …
    4096    576n   process slots:  0 4 pid in the container · 4 4 state, 0 free, 1 taken · 8 8 start time, clock ticks
                                   64 32n  GPUs: 0 8 bytes in use after an even change · 8 8 after an odd change
                                                  16 8 number of the last change · 24 8 highest number known as counted

A process changes its slot's number of bytes and the GPU's total in three steps, none of which needs a lock: it writes
what it will have, then the change's number, then exchanges total and last change at once. Whoever changes the total
next first notes the previous change as counted in its slot. So it is always known whether a dead process's last change
is in the total, and its bytes can be given back exactly: in one exchange of total and last change, under the number
after the dead process's last. A slot of which a later number is counted than its own last has nothing in the total.
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unigpu import errors
from unigpu.units import Bytes

MAGIC = int.from_bytes(b"UGUS", "little")
VERSION = 1
MAX_GPUS = 16
TOTALS_OFFSET = 128
TOTAL_SIZE = 64
COMPUTE_OFFSET = 1152
COMPUTE_SIZE = 128
SLOTS_OFFSET = 4096
SLOT_SIZE = 576
SLOT_GPUS_OFFSET = 64
SLOT_GPU_SIZE = 32
SLOT_COUNT = 1024
SIZE = SLOTS_OFFSET + SLOT_COUNT * SLOT_SIZE
LOCKS_OFFSET = 1 << 30

_HEADER = struct.Struct("<II")
_TOTAL = struct.Struct("<5Q")
_COMPUTE = struct.Struct("<qQQQQ24xII")
_CHARGED = struct.Struct("<16xQ40xII")
"""The part of `_COMPUTE` that tells how much a container works."""
_SLOT = struct.Struct("<IIQ")
_SLOT_STATE = 4
_TAKEN = re.compile(rb"[^\0]")
_GPU = struct.Struct("<4Q")


@dataclass(frozen=True, slots=True)
class GpuTotals:
    """What the container has taken of one GPU."""

    used: Bytes
    """By its living processes, contexts included."""
    peak: Bytes
    refused: int
    """Allocations refused since the container was granted its share."""
    compute_ns: int = 0
    """GPU time charged since then."""
    waited_ns: int = 0
    """Time that launches waited for their share, summed over launches."""
    waits: int = 0
    """Launches that waited."""
    waiting: bool = False
    """Whether one waits now."""


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One living process."""

    slot: int
    pid: int
    """As the container's pid namespace numbers it."""
    used: Sequence[Bytes]
    """By GPU, in the policy's order."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A container's usage."""

    gpus: Sequence[GpuTotals]
    processes: Sequence[ProcessUsage]


def unpack(content: bytes | bytearray, gpus: int, alive: Callable[[int], bool]) -> Usage:
    """The usage of the first `gpus` GPUs; `alive(slot)` tells whether the slot's lock is held.

    An empty or all-zero file is that of a container in which nothing has asked for a GPU yet.
    Raises Malformed for another version or a file that is too short.
    """
    nothing = Usage(tuple(GpuTotals(Bytes(0), Bytes(0), 0) for _ in range(gpus)), ())
    if not content:
        return nothing
    if len(content) < SLOTS_OFFSET:
        raise errors.Malformed(f"usage file has {len(content)} bytes, fewer than its header's {SLOTS_OFFSET}")
    magic, version = _HEADER.unpack_from(content)
    if magic == 0:
        return nothing
    if (magic, version) != (MAGIC, VERSION):
        raise errors.Malformed(f"usage file is not of version {VERSION} (magic {magic:#x}, version {version})")
    processes = []
    # Few of the slots are taken: the rest is passed over in one go, by the lowest byte of each slot's state.
    states = content[SLOTS_OFFSET + _SLOT_STATE : SLOTS_OFFSET + SLOT_COUNT * SLOT_SIZE : SLOT_SIZE]
    for found in _TAKEN.finditer(states[: (len(content) - SLOTS_OFFSET) // SLOT_SIZE]):
        slot = found.start()
        start = SLOTS_OFFSET + slot * SLOT_SIZE
        pid, _, _ = _SLOT.unpack_from(content, start)
        if alive(slot):
            words = range(start + SLOT_GPUS_OFFSET, start + SLOT_SIZE, SLOT_GPU_SIZE)
            used = tuple(_used(content, word) for word in words[:gpus])
            processes.append(ProcessUsage(slot, pid, used))
    totals = []
    for gpu in range(gpus):
        _, _, peak, refused, _ = _TOTAL.unpack_from(content, TOTALS_OFFSET + gpu * TOTAL_SIZE)
        used_here = Bytes(sum(process.used[gpu] for process in processes))
        totals.append(GpuTotals(used_here, Bytes(peak), refused, *compute(content, gpu)))
    return Usage(tuple(totals), tuple(processes))


def totals(content: bytes, gpus: int) -> list[Bytes]:
    """Bytes that a header says are in use of each GPU, with those of processes that died and weren't noticed yet."""
    if len(content) < SLOTS_OFFSET or _HEADER.unpack_from(content) != (MAGIC, VERSION):
        return [Bytes(0)] * gpus
    return [Bytes(_TOTAL.unpack_from(content, TOTALS_OFFSET + gpu * TOTAL_SIZE)[0]) for gpu in range(gpus)]


def compute(content: bytes | bytearray | memoryview, gpu: int) -> tuple[int, int, int, bool]:
    """GPU time charged, ns; time waited, ns; launches that waited; whether one waits now. Needs the header alone."""
    _, _, used, waited, waits, turn, served = _COMPUTE.unpack_from(content, COMPUTE_OFFSET + gpu * COMPUTE_SIZE)
    return used, waited, waits, turn != served


def charges(gpus: int) -> struct.Struct:
    """Reads, of the header of a container with so many GPUs, for each: GPU time charged, ns; next turn, turn served.

    For whoever reads many accounts many times a second; `compute` says it more plainly.
    """
    skip, rest = COMPUTE_OFFSET, COMPUTE_SIZE - _CHARGED.size
    return struct.Struct(f"<{skip}x" + f"{_CHARGED.format.removeprefix('<')}{rest}x" * gpus)


def _used(content: bytes | bytearray, offset: int) -> Bytes:
    after_even, after_odd, change, _ = _GPU.unpack_from(content, offset)
    return Bytes(after_odd if change & 1 else after_even)
