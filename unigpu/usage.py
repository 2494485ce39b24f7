"""The usage file: what a container's processes have taken, written by libvgpu and read by the exporter.

Fixed layout, little endian; `libvgpu/layout.h` has the same in C, and a test pins every offset. All zero is a valid
empty file, so the node agent only has to make it as long as it must be. A process that lives holds a POSIX write lock on
the byte `LOCKS_OFFSET + slot` (past the end of the file, where nothing is stored); the kernel releases it when the
process ends, however it ends, so that a reader in another pid namespace can tell the living from the dead.

    offset  size   field
    0       4      magic "UGUS", 0 before first use
    4       4      version
    64      64     lock of the account: a process-shared robust mutex, libvgpu's alone
    128     64n    cards' totals:  0 8 used · 8 8 highest used · 16 8 refused allocations, all bytes but the last
    4096    576n   process slots:  0 4 pid in the container · 4 4 state, 0 free, 1 taken · 8 8 start time, clock ticks
                                   64 32n  cards: 0 8 bytes in use, contexts included
"""

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
SLOTS_OFFSET = 4096
SLOT_SIZE = 576
SLOT_CARDS_OFFSET = 64
SLOT_CARD_SIZE = 32
SLOT_COUNT = 1024
SIZE = SLOTS_OFFSET + SLOT_COUNT * SLOT_SIZE
LOCKS_OFFSET = 1 << 30

_HEADER = struct.Struct("<II")
_TOTAL = struct.Struct("<QQQ")
_SLOT = struct.Struct("<IIQ")
_WORD = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class CardUsage:
    """What the container has taken of one card."""

    used: Bytes
    """By its living processes, contexts included."""
    peak: Bytes
    refused: int
    """Allocations refused since the container was granted its share."""


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One living process."""

    slot: int
    pid: int
    """As the container's pid namespace numbers it."""
    used: Sequence[Bytes]
    """By card, in the policy's order."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A container's usage."""

    cards: Sequence[CardUsage]
    processes: Sequence[ProcessUsage]


def unpack(content: bytes, cards: int, alive: Callable[[int], bool]) -> Usage:
    """The usage of the first `cards` cards; `alive(slot)` tells whether the slot's lock is held.

    An empty or all-zero file is that of a container in which nothing has asked for a GPU yet.
    Raises Malformed for another version or a file that is too short.
    """
    nothing = Usage(tuple(CardUsage(Bytes(0), Bytes(0), 0) for _ in range(cards)), ())
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
    for slot in range(min(SLOT_COUNT, (len(content) - SLOTS_OFFSET) // SLOT_SIZE)):
        start = SLOTS_OFFSET + slot * SLOT_SIZE
        pid, state, _ = _SLOT.unpack_from(content, start)
        if state and alive(slot):
            words = range(start + SLOT_CARDS_OFFSET, start + SLOT_SIZE, SLOT_CARD_SIZE)
            used = tuple(Bytes(_WORD.unpack_from(content, word)[0]) for word in words[:cards])
            processes.append(ProcessUsage(slot, pid, used))
    totals = []
    for card in range(cards):
        _, peak, refused = _TOTAL.unpack_from(content, TOTALS_OFFSET + card * TOTAL_SIZE)
        totals.append(CardUsage(Bytes(sum(process.used[card] for process in processes)), Bytes(peak), refused))
    return Usage(tuple(totals), tuple(processes))
