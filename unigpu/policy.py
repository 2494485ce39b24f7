"""The policy file: what a container may use, written by the node agent and mapped by libvgpu.

Fixed layout, little endian, 4,096 bytes; `libvgpu/layout.h` has the same in C, and a test pins every offset. The writer
changes it in place: sequence to odd, body, sequence to the next even number; a reader that sees an odd or a changed
sequence reads again.

    offset  size  field
    0       4     magic "UGPL"
    4       4     version
    8       4     size of the file, bytes
    12      4     sequence
    16      4     number of GPUs
    20      4     flags: bit 0 memory enforced, bit 1 cores enforced
    24      4     compute policy: 0 unlimited, 1 hard, 2 soft
    28      4     priority, 0 is high
    32      8     looked: CLOCK_MONOTONIC of the agent's last look at the node's GPUs, ns; 0 never
    64      128n  GPUs:  0 48 UUID, NUL padded · 48 8 memory limit, bytes, 0 none
                          56 4 core share, percent, 0 none · 60 4 core ceiling, percent
                          64 4 now: what the container may use at the moment, hundredths of a percent, 0 nothing said
                          68 4 others: what the GPU's other containers used lately, hundredths of a percent

`looked`, `now` and `others` change often, and stand outside the sequence; a GPU's `now` and `others` are one aligned
write of 8 bytes. They hold for `FRESH_NS` after `looked`; then the share alone counts, so that an agent that died lends
nothing for ever.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from unigpu import errors
from unigpu.allocations import Share
from unigpu.modes import Enforcement
from unigpu.requests import ComputePolicy, Request
from unigpu.units import Bytes, GpuUuid, MiB, Percent, to_bytes

MAGIC = int.from_bytes(b"UGPL", "little")
VERSION = 1
SIZE = 4096
MAX_GPUS = 16
HEADER = struct.Struct("<8I")
SEQUENCE_OFFSET = 12
SEQUENCE = struct.Struct("<I")
CARDS_OFFSET = 64
CARD_SIZE = 128
CARD = struct.Struct("<48sQII")

LOOKED_OFFSET = 32
LOOKED = struct.Struct("<Q")
MOMENT_OFFSET = 64
"""Within a GPU."""
MOMENT = struct.Struct("<II")
FRESH_NS = 1_000_000_000
LASTING = (
    (0, SEQUENCE_OFFSET),
    (SEQUENCE_OFFSET + SEQUENCE.size, LOOKED_OFFSET),
    *((start, start + MOMENT_OFFSET) for start in range(CARDS_OFFSET, CARDS_OFFSET + MAX_GPUS * CARD_SIZE, CARD_SIZE)),
)
"""Where the file says what the sequence guards: beginning and end of each part."""

FLAG_MEMORY = 1
FLAG_CORES = 2

_COMPUTE = {ComputePolicy.UNLIMITED: 0, ComputePolicy.HARD: 1, ComputePolicy.SOFT: 2}
_COMPUTE_BACK = {number: policy for policy, number in _COMPUTE.items()}


@dataclass(frozen=True, slots=True)
class CardLimit:
    """What the container may use of one GPU."""

    gpu: GpuUuid
    memory: Bytes
    """0: not limited."""
    cores: Percent
    """0: not limited."""
    ceiling: Percent


@dataclass(frozen=True, slots=True)
class Policy:
    """A container's limits."""

    cards: Sequence[CardLimit]
    memory_enforced: bool
    cores_enforced: bool
    compute: ComputePolicy = ComputePolicy.UNLIMITED
    priority: int = 0

    @property
    def moves(self) -> bool:
        """Whether what the container may use at the moment can be another than its share: it is lent to, or yields."""
        return self.cores_enforced and (self.compute is ComputePolicy.SOFT or self.priority > 0)


def decide(request: Request, shares: Sequence[Share], enforced: Enforcement) -> Policy:
    """The limits that follow from what was asked for, given and is enforced on the node."""
    return Policy(
        cards=tuple(
            CardLimit(
                gpu=share.gpu,
                memory=to_bytes(MiB(share.memory)),
                cores=share.cores,
                ceiling=Percent(max(request.ceiling, share.cores)),
            )
            for share in shares
        ),
        memory_enforced=enforced.memory,
        # Who isn't limited, and has a low priority, is held too: so that it can yield.
        cores_enforced=enforced.cores and (request.policy is not ComputePolicy.UNLIMITED or request.priority > 0),
        compute=request.policy,
        priority=request.priority,
    )


def pack(policy: Policy, sequence: int = 0) -> bytes:
    """The file's content, with an even sequence.

    Raises Malformed for more than 16 GPUs or a UUID that doesn't fit.
    """
    if len(policy.cards) > MAX_GPUS:
        raise errors.Malformed(f"a container can have {MAX_GPUS} GPUs at most, not {len(policy.cards)}")
    content = bytearray(SIZE)
    flags = (FLAG_MEMORY if policy.memory_enforced else 0) | (FLAG_CORES if policy.cores_enforced else 0)
    HEADER.pack_into(
        content,
        0,
        MAGIC,
        VERSION,
        SIZE,
        sequence,
        len(policy.cards),
        flags,
        _COMPUTE[policy.compute],
        policy.priority,
    )
    for position, card in enumerate(policy.cards):
        uuid = card.gpu.encode()
        if len(uuid) >= 48:
            raise errors.Malformed(f"GPU UUID {card.gpu} is longer than 47 bytes")
        CARD.pack_into(content, CARDS_OFFSET + position * CARD_SIZE, uuid, card.memory, card.cores, card.ceiling)
    return bytes(content)


def lasting(content: bytes) -> bytes:
    """What the sequence guards of a file's content, so that two can be compared whatever the moment says."""
    return b"".join([content[start:end] for start, end in LASTING])


def moment(now: float, others: float) -> bytes:
    """What is written at `moment_offset`: both in percent of the GPU; `now` 0 says nothing."""
    return MOMENT.pack(round(now * 100), round(others * 100))


def moment_word(now: float, others: float) -> int:
    """The same as a number, for whoever stores it at once."""
    return int(now * 100 + 0.5) | int(others * 100 + 0.5) << 32


def read_moment(content: bytes, card: int) -> tuple[float, float]:
    """`now` and `others`, percent, of the GPU at this place of the policy."""
    now, other = MOMENT.unpack_from(content, moment_offset(card))
    return now / 100, other / 100


def moment_offset(card: int) -> int:
    """Where the moment of the GPU at this place of the policy stands in the file."""
    return CARDS_OFFSET + card * CARD_SIZE + MOMENT_OFFSET


def unpack(content: bytes) -> Policy:
    """The reverse of `pack`.

    Raises Malformed for another magic, version or size.
    """
    if len(content) != SIZE:
        raise errors.Malformed(f"policy file has {len(content)} bytes, not {SIZE}")
    magic, version, size, _, count, flags, compute, priority = HEADER.unpack_from(content)
    if (magic, version, size) != (MAGIC, VERSION, SIZE) or count > MAX_GPUS or compute not in _COMPUTE_BACK:
        raise errors.Malformed(f"policy file is not of version {VERSION} (magic {magic:#x}, version {version})")
    cards = []
    for position in range(count):
        uuid, memory, cores, ceiling = CARD.unpack_from(content, CARDS_OFFSET + position * CARD_SIZE)
        text = GpuUuid(uuid.rstrip(b"\0").decode("ascii", "replace"))
        cards.append(CardLimit(text, Bytes(memory), Percent(cores), Percent(ceiling)))
    return Policy(
        cards=tuple(cards),
        memory_enforced=bool(flags & FLAG_MEMORY),
        cores_enforced=bool(flags & FLAG_CORES),
        compute=_COMPUTE_BACK[compute],
        priority=priority,
    )
