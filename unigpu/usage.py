"""The usage file: what a container's processes use, written by libvgpu and read by the exporter and the node agent.

Fixed layout, little endian; `libvgpu/base/layout.h` has the same in C, and a test pins every offset. A file of zeros is
valid and empty, so the node agent only has to give it its length and make it writable for every user of the container.
A live process holds a POSIX write lock on the byte `LOCKS_OFFSET + slot`, past the end of the file, where nothing is
stored. The kernel releases the lock however the process ends, so a reader in another pid namespace can tell live
processes from dead ones.

    offset  size   field
    0       4      magic "UGUS", 0 before first use
    4       4      version
    128     64n    GPUs' totals:  0 8 bytes in use · 8 8 last change: slot + 1 in the upper 16 bits, its number below
                                   16 8 highest use, bytes · 24 8 refused allocations · 32 8 cost of a context, bytes
                                   40 8 implicit memory: what the driver took unasked for its processes, bytes
                                   48 8 number of changes of kinds, see below · 56 8 launches of kernels and graphs
    1152    128n   GPUs' compute: 0 8 balance: GPU time that may be used at once, ns; negative: debt
                                   8 8 CLOCK_MONOTONIC up to which it is earned, ns · 16 8 GPU time charged, ns
                                   24 8 time that launches waited, ns · 32 8 launches that waited
                                   40 8 CLOCK_MONOTONIC up to which time is reserved for long kernels, ns
                                   48 8 CLOCK_MONOTONIC until which the waiter being served sleeps, ns
                                   56 8 CLOCK_MONOTONIC of a launch whose cost isn't known yet, ns; 0 none
                                   64 4 next ticket · 68 4 ticket being served
                                   72 56 as 40, for kernels of 50 ms and longer, of 100 ms, 200 ms …
    3200    272    a wish for higher limits: see `unigpu.wishes`
    4096    576n   process slots:  0 4 pid in the container · 4 4 state, 0 free, 1 taken · 8 8 start time, clock ticks
                                   64 32n  GPUs: 0 8 bytes in use after an even change · 8 8 after an odd change
                                                  16 8 number of the last change · 24 8 highest number noted as counted
    593920  272n   kinds of memory, by slot:  0 8 start time + 1 of the process that notes them
                                              16 16n GPUs: 0 8 bytes of contexts · 8 8 bytes of code

A process changes its slot's bytes and the GPU's total in three steps without a lock: it writes its new amount, then the
change's number, then exchanges total and last change in one atomic operation. The next process to change the total
first notes the previous change as counted, in the slot of that change. It is therefore always known whether a dead
process's last change is in the total. Its bytes are returned exactly, by one exchange of total and last change under
the number after the dead process's last. A slot whose counted number is higher than its own last number has nothing in
the total.

A process notes which of its bytes are contexts and code after it has taken them, and before it gives them back. So the
rest, the program's data, is never less than nothing, and the kinds always add up to the bytes in use. Files of programs
whose libvgpu didn't know kinds end behind the slots, and a slot that such a program took has kinds of another start
time: all of its bytes are data. That is why the version is the same.

Every program of the container may write the file, so a reader trusts nothing in it. A number that no container can
reach makes the whole file Implausible: the program that wrote it can have written the rest too.
"""

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from unigpu import errors
from unigpu.units import BYTES_PER_MIB, MAX_MEMORY, Bytes

MAGIC = int.from_bytes(b"UGUS", "little")
VERSION = 1
MAX_GPUS = 16
TOTALS_OFFSET = 128
TOTAL_SIZE = 64
MEMORY_SIZE = 48
"""What a GPU's totals say of memory, at their beginning."""
REFUSED_OFFSET, REFUSED_SIZE = 24, 8
"""Of the counter of refused allocations, in a GPU's totals."""
COMPUTE_OFFSET = 1152
COMPUTE_SIZE = 128
SLOTS_OFFSET = 4096
SLOT_SIZE = 576
SLOT_GPUS_OFFSET = 64
SLOT_GPU_SIZE = 32
SLOT_COUNT = 1024
KINDS_OFFSET = SLOTS_OFFSET + SLOT_COUNT * SLOT_SIZE
KINDS_SIZE = 272
KINDS_GPUS_OFFSET = 16
KINDS_GPU_SIZE = 16
SIZE = KINDS_OFFSET + SLOT_COUNT * KINDS_SIZE
SIZES = (SIZE, KINDS_OFFSET)
"""Of files in use; the second is that of files without kinds, which libvgpu lengthens."""
LOCKS_OFFSET = 1 << 30
MAX_PROCESSES = 300
"""Living processes of one container. GPUs have contexts for fewer; more would make every reading slow."""
MAX_COUNT = 1 << 62
"""No counter gets here: it is more than a hundred years in nanoseconds."""

_HEADER = struct.Struct("<II")
_TOTAL = struct.Struct("<6Q8xQ")
_COMPUTE = struct.Struct("<qQQQQ24xII")
_LAUNCHES = 56
"""Where launches are in a GPU's totals. Nothing is behind them."""
_CHARGED_OFFSET = 16
_CHARGED = struct.Struct("<16xQ40xII")
"""The fields of `_COMPUTE` that show how busy a container is: GPU time charged, next ticket, ticket being served."""
_SLOT = struct.Struct("<IIQ")
_SLOT_STATE = 4
_TAKEN = re.compile(rb"[^\0]")
_GPU = struct.Struct("<4Q")
_KINDS = struct.Struct("<Q")
_KINDS_GPU = struct.Struct("<2Q")


class Implausible(errors.Malformed):
    """The file has the form of a usage file, and says or holds what no program with libvgpu writes."""


@dataclass(frozen=True, slots=True)
class GpuTotals:
    """What a container uses of one GPU, over all its processes."""

    used: Bytes
    """Bytes in use by its live processes, contexts and what the driver took unasked included."""
    peak: Bytes
    refused: int
    """Allocations refused since the container got its share."""
    compute_ns: int = 0
    """GPU time charged since then."""
    waited_ns: int = 0
    """Time that launches waited for their share, summed over launches."""
    waits: int = 0
    """Launches that waited."""
    waiting: bool = False
    """Whether a launch waits now."""
    launches: int = 0
    """Launches of kernels and graphs since then."""
    context: Bytes = Bytes(0)
    """Bytes in use for contexts, and for what their limits were raised by."""
    code: Bytes = Bytes(0)
    """Bytes in use for modules and libraries."""
    unasked: Bytes = Bytes(0)
    """Bytes that the driver took unasked: code when it first runs, stacks, buffers of its own."""

    @property
    def data(self) -> Bytes:
        """Bytes in use for all else: what the programs allocated."""
        return Bytes(self.used - self.context - self.code - self.unasked)


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One live process."""

    slot: int
    pid: int
    """Its pid in the container's pid namespace."""
    used: Sequence[Bytes]
    """Bytes in use by GPU, in the policy's order."""
    context: Sequence[Bytes] = ()
    """Those of them that are contexts; empty where the process doesn't say."""
    code: Sequence[Bytes] = ()
    """Those that are code; likewise."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A container's usage."""

    gpus: Sequence[GpuTotals]
    processes: Sequence[ProcessUsage]


def unpack(
    content: bytes | bytearray, gpus: int, alive: Callable[[int], bool], most: Sequence[Bytes] | None = None
) -> Usage:
    """Return the usage of the first `gpus` GPUs; `alive(slot)` tells whether the slot's lock is held.

    `most`: bytes of each GPU that the container can have in use, where they are known.
    An empty or all-zero file belongs to a container in which no program has used a GPU yet.
    Raises Malformed if the version differs or the file is too short; Implausible for what can't be.
    """
    header = content[:SLOTS_OFFSET]
    if not _begun(header):
        return _nothing(gpus)
    processes = []
    # Few slots are taken, so one scan over the lowest byte of each slot's state skips the free ones.
    states = content[SLOTS_OFFSET + _SLOT_STATE : KINDS_OFFSET : SLOT_SIZE]
    for place in _TAKEN.finditer(states[: (len(content) - SLOTS_OFFSET) // SLOT_SIZE]):
        slot = place.start()
        if alive(slot):
            start, kinds = SLOTS_OFFSET + slot * SLOT_SIZE, KINDS_OFFSET + slot * KINDS_SIZE
            processes.append(
                _process(slot, content[start : start + SLOT_SIZE], content[kinds : kinds + KINDS_SIZE], gpus)
            )
            if len(processes) > MAX_PROCESSES:
                raise Implausible(f"usage file has more than {MAX_PROCESSES} living processes")
    return _gather(header, processes, gpus, most)


def unpack_living(
    header: bytes, living: Mapping[int, tuple[bytes, bytes]], gpus: int, most: Sequence[Bytes] | None = None
) -> Usage:
    """Return what `unpack` does, from the file's header and the records of the slots whose processes live.

    `living`: by slot, its SLOT_SIZE bytes and its KINDS_SIZE bytes; the latter may be missing. Raises as `unpack`.
    """
    if not _begun(header):
        return _nothing(gpus)
    taken = {
        slot: records
        for slot, records in living.items()
        if len(records[0]) == SLOT_SIZE and records[0][_SLOT_STATE] != 0
    }
    return _gather(header, [_process(slot, *records, gpus) for slot, records in sorted(taken.items())], gpus, most)


def _begun(header: bytes | bytearray) -> bool:
    """Return whether a program has used the file. Raises Malformed if the version differs or it is too short."""
    if not header:
        return False
    if len(header) < SLOTS_OFFSET:
        raise errors.Malformed(f"usage file has {len(header)} bytes, fewer than its header's {SLOTS_OFFSET}")
    magic, version = _HEADER.unpack_from(header)
    if magic and (magic, version) != (MAGIC, VERSION):
        raise errors.Malformed(f"usage file is not of version {VERSION} (magic {magic:#x}, version {version})")
    return bool(magic)


def _nothing(gpus: int) -> Usage:
    return Usage(tuple(GpuTotals(Bytes(0), Bytes(0), 0) for _ in range(gpus)), ())


def _process(slot: int, record: bytes | bytearray, kinds: bytes | bytearray, gpus: int) -> ProcessUsage:
    pid, _, start = _SLOT.unpack_from(record)
    used = tuple(_used(record, SLOT_GPUS_OFFSET + gpu * SLOT_GPU_SIZE) for gpu in range(gpus))
    if len(kinds) < KINDS_SIZE or _KINDS.unpack_from(kinds)[0] != start + 1:
        return ProcessUsage(slot, pid, used)
    pairs = [_KINDS_GPU.unpack_from(kinds, KINDS_GPUS_OFFSET + gpu * KINDS_GPU_SIZE) for gpu in range(gpus)]
    # More than the whole is only written by who means harm.
    context = tuple(Bytes(min(pair[0], whole)) for pair, whole in zip(pairs, used, strict=True))
    code = tuple(Bytes(min(pair[1], whole - part)) for pair, whole, part in zip(pairs, used, context, strict=True))
    return ProcessUsage(slot, pid, used, context, code)


def _gather(
    header: bytes | bytearray, processes: Sequence[ProcessUsage], gpus: int, most: Sequence[Bytes] | None
) -> Usage:
    totals = []
    for gpu in range(gpus):
        _, _, peak, refused, _, implicit, launches = _TOTAL.unpack_from(header, TOTALS_OFFSET + gpu * TOTAL_SIZE)
        by_processes = Bytes(sum(process.used[gpu] for process in processes))
        found = GpuTotals(
            by_processes,
            Bytes(peak),
            refused,
            *compute(header, gpu),
            launches,
            Bytes(sum(process.context[gpu] for process in processes if process.context)),
            Bytes(sum(process.code[gpu] for process in processes if process.code)),
        )
        totals.append(
            _with_implicit(found, implicit if by_processes else 0, gpu, LARGEST if most is None else most[gpu])
        )
    return Usage(tuple(totals), tuple(processes))


def moved(header: bytes | bytearray, before: Sequence[GpuTotals]) -> list[GpuTotals]:
    """Return the totals with the counters that this header has; memory is what it was. Raises Implausible."""
    found = []
    for gpu, one in enumerate(before):
        launches = _TOTAL.unpack_from(header, TOTALS_OFFSET + gpu * TOTAL_SIZE)[-1]
        compute_ns, waited_ns, waits, waiting = compute(header, gpu)
        now = replace(one, compute_ns=compute_ns, waited_ns=waited_ns, waits=waits, waiting=waiting, launches=launches)
        check(now, gpu)
        found.append(now)
    return found


def same_memory(header: bytes, before: bytes, gpus: int) -> bool:
    """Return whether nothing but counters of time and launches differs between two readings of a header's beginning."""
    start, length = 0, TOTALS_OFFSET + _LAUNCHES
    for _ in range(gpus):
        if header[start : start + length] != before[start : start + length]:
            return False
        start, length = start + length + TOTAL_SIZE - _LAUNCHES, _LAUNCHES
    return len(header) == len(before)


LARGEST = Bytes(MAX_MEMORY * BYTES_PER_MIB)
"""More memory than any GPU has."""


def _with_implicit(found: GpuTotals, implicit: int, gpu: int, most: Bytes = LARGEST) -> GpuTotals:
    """Return the totals with implicit memory in them. It was last looked at some time ago, so the sum is cut at `most`.

    Raises Implausible for what can't be.
    """
    check(found, gpu, most)
    if implicit > most:
        raise Implausible(f"usage file says {implicit} as implicit memory of GPU {gpu}, more than {most}")
    if implicit == 0:
        return found
    used = Bytes(min(found.used + implicit, most))
    return replace(found, used=used, peak=Bytes(max(used, found.peak)), unasked=Bytes(used - found.used))


def check(found: GpuTotals, gpu: int, most: Bytes = LARGEST) -> None:
    """Raise Implausible where the totals of the GPU at this place can't be: memory above `most`, or a huge counter."""
    for name, amount, limit in (
        ("memory in use", found.used, most),
        ("highest use", found.peak, most),
        ("refused allocations", found.refused, MAX_COUNT),
        ("GPU time", found.compute_ns, MAX_COUNT),
        ("time waited", found.waited_ns, MAX_COUNT),
        ("launches that waited", found.waits, MAX_COUNT),
        ("launches", found.launches, MAX_COUNT),
    ):
        if amount > limit:
            raise Implausible(f"usage file says {amount} as {name} of GPU {gpu}, more than {limit}")


def headers(content: bytes, gpus: int) -> list[GpuTotals]:
    """Return the totals of the first `gpus` GPUs by the header alone; memory of dead processes may still be in them.

    Empty where no program has used a GPU yet. Raises Malformed for another version, Implausible for what can't be.
    """
    if len(content) < SLOTS_OFFSET:
        raise errors.Malformed(f"usage file has {len(content)} bytes, fewer than its header's {SLOTS_OFFSET}")
    if _HEADER.unpack_from(content)[0] == 0:
        return [GpuTotals(Bytes(0), Bytes(0), 0) for _ in range(gpus)]
    if _HEADER.unpack_from(content) != (MAGIC, VERSION):
        raise errors.Malformed(f"usage file is not of version {VERSION}")
    found = []
    for gpu in range(gpus):
        used, _, peak, refused, _, implicit, _ = _TOTAL.unpack_from(content, TOTALS_OFFSET + gpu * TOTAL_SIZE)
        found.append(_with_implicit(GpuTotals(Bytes(used), Bytes(peak), refused), implicit, gpu))
    return found


def totals(content: bytes, gpus: int) -> list[Bytes]:
    """Return the bytes in use of each GPU by the header's totals; memory of dead processes may still be in them."""
    if len(content) < SLOTS_OFFSET or _HEADER.unpack_from(content) != (MAGIC, VERSION):
        return [Bytes(0)] * gpus
    found = (_TOTAL.unpack_from(content, TOTALS_OFFSET + gpu * TOTAL_SIZE) for gpu in range(gpus))
    return [Bytes(used + implicit) for used, _, _, _, _, implicit, _ in found]


def compute(content: bytes | bytearray | memoryview, gpu: int) -> tuple[int, int, int, bool]:
    """Return GPU time charged (ns), time waited (ns), launches that waited, and whether one waits; from the header."""
    _, _, used, waited, waits, ticket, served = _COMPUTE.unpack_from(content, COMPUTE_OFFSET + gpu * COMPUTE_SIZE)
    return used, waited, waits, ticket != served


def charges(gpus: int) -> struct.Struct:
    """Return a struct that unpacks for each GPU: GPU time charged (ns), next ticket, ticket being served.

    It is for reading many headers many times a second; `compute` reads one GPU of one header.
    """
    skip, rest = COMPUTE_OFFSET, COMPUTE_SIZE - _CHARGED.size
    return struct.Struct(f"<{skip}x" + f"{_CHARGED.format.removeprefix('<')}{rest}x" * gpus)


def charges_part(gpus: int) -> tuple[int, int]:
    """Return start and end of the part of a header from which `charges` reads."""
    first = COMPUTE_OFFSET + _CHARGED_OFFSET
    return first, first + (gpus - 1) * COMPUTE_SIZE + _CHARGED.size - _CHARGED_OFFSET


def _used(content: bytes | bytearray, offset: int) -> Bytes:
    after_even, after_odd, change, _ = _GPU.unpack_from(content, offset)
    return Bytes(after_odd if change & 1 else after_even)
