"""The policy file: what a container may use, written by the node agent and mapped by libvgpu.

Fixed layout, little endian, 4,096 bytes; `libvgpu/base/layout.h` has the same in C, and a test pins every offset. The
writer changes the file in place: it sets the sequence to an odd number, writes the body, and sets the sequence to the
next even number. A reader that finds an odd sequence, or another one after reading, reads again.

    offset  size  field
    0       4     magic "UGPL"
    4       4     version
    8       4     size of the file, bytes
    12      4     sequence
    16      4     number of GPUs
    20      4     flags: bit 0 memory enforced, bit 1 cores enforced
    24      4     compute policy: 0 unlimited, 1 hard, 2 soft
    28      4     priority, 0 is high
    32      8     heartbeat_ns: CLOCK_MONOTONIC of the agent's last pass over the node's GPUs, ns; 0 never
    64      128n  GPUs:  0 48 UUID, NUL padded · 48 8 memory limit, bytes, 0 none
                          56 4 core share, percent, 0 none · 60 4 core ceiling, percent
                          64 4 current_rate: what the container may use now, hundredths of a percent, 0 unset
                          68 4 neighbour_load: recent use of the GPU by other containers, hundredths of a percent
    2112    416   the answer to a program's wish for higher limits: see `unigpu.wishes`; the sequence doesn't guard it

`heartbeat_ns`, `current_rate` and `neighbour_load` change often and are not guarded by the sequence. The last two of a
GPU are one aligned write of 8 bytes. They are valid for `FRESH_NS` after `heartbeat_ns`; after that only the share
counts, so that an agent that died doesn't lend indefinitely.
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
GPUS_OFFSET = 64
ENTRY_SIZE = 128
ENTRY = struct.Struct("<48sQII")

HEARTBEAT_OFFSET = 32
HEARTBEAT = struct.Struct("<Q")
LIVE_STATE_OFFSET = 64
"""Offset within a GPU's entry."""
LIVE_STATE = struct.Struct("<II")
FRESH_NS = 1_000_000_000
GUARDED = (
    (0, SEQUENCE_OFFSET),
    (SEQUENCE_OFFSET + SEQUENCE.size, HEARTBEAT_OFFSET),
    *(
        (start, start + LIVE_STATE_OFFSET)
        for start in range(GPUS_OFFSET, GPUS_OFFSET + MAX_GPUS * ENTRY_SIZE, ENTRY_SIZE)
    ),
)
"""Start and end of each part of the file that the sequence guards."""

FLAG_MEMORY = 1
FLAG_CORES = 2

_COMPUTE = {ComputePolicy.UNLIMITED: 0, ComputePolicy.HARD: 1, ComputePolicy.SOFT: 2}
_COMPUTE_BACK = {number: policy for policy, number in _COMPUTE.items()}


@dataclass(frozen=True, slots=True)
class GpuLimit:
    """A container's limits on one GPU."""

    gpu: GpuUuid
    memory: Bytes
    """0: not limited."""
    cores: Percent
    """0: not limited."""
    ceiling: Percent


@dataclass(frozen=True, slots=True)
class Policy:
    """A container's limits on all of its GPUs."""

    gpus: Sequence[GpuLimit]
    memory_enforced: bool
    cores_enforced: bool
    compute: ComputePolicy = ComputePolicy.UNLIMITED
    priority: int = 0

    @property
    def rate_varies(self) -> bool:
        """Whether the container's rate can differ from its share: it borrows, or yields to a higher priority."""
        return self.cores_enforced and (self.compute is ComputePolicy.SOFT or self.priority > 0)


def build_policy(request: Request, shares: Sequence[Share], enforced: Enforcement) -> Policy:
    """Return the limits that follow from the request, the allocated shares and what the node enforces."""
    return Policy(
        gpus=tuple(
            GpuLimit(
                gpu=share.gpu,
                memory=to_bytes(MiB(share.memory)),
                cores=share.cores,
                ceiling=Percent(max(request.ceiling, share.cores)),
            )
            for share in shares
        ),
        memory_enforced=enforced.memory,
        # An unlimited container of low priority is throttled too, so that it can yield.
        cores_enforced=enforced.cores and (request.policy is not ComputePolicy.UNLIMITED or request.priority > 0),
        compute=request.policy,
        priority=request.priority,
    )


def pack(policy: Policy, sequence: int = 0) -> bytes:
    """Return the file's content; `sequence` must be even.

    Raises Malformed for more than 16 GPUs or a UUID that doesn't fit.
    """
    if len(policy.gpus) > MAX_GPUS:
        raise errors.Malformed(f"a container can have at most {MAX_GPUS} GPUs, not {len(policy.gpus)}")
    content = bytearray(SIZE)
    flags = (FLAG_MEMORY if policy.memory_enforced else 0) | (FLAG_CORES if policy.cores_enforced else 0)
    HEADER.pack_into(
        content,
        0,
        MAGIC,
        VERSION,
        SIZE,
        sequence,
        len(policy.gpus),
        flags,
        _COMPUTE[policy.compute],
        policy.priority,
    )
    for position, limit in enumerate(policy.gpus):
        uuid = limit.gpu.encode()
        if len(uuid) >= 48:
            raise errors.Malformed(f"GPU UUID {limit.gpu} is longer than 47 bytes")
        ENTRY.pack_into(content, GPUS_OFFSET + position * ENTRY_SIZE, uuid, limit.memory, limit.cores, limit.ceiling)
    return bytes(content)


def guarded(content: bytes) -> bytes:
    """Return the parts of a file's content that the sequence guards, so that two files compare without live state."""
    return b"".join([content[start:end] for start, end in GUARDED])


def live_state(current_rate: float, neighbour_load: float) -> bytes:
    """Return the bytes at `live_state_offset`. Both are in percent of the GPU; a `current_rate` of 0 is unset."""
    return LIVE_STATE.pack(round(current_rate * 100), round(neighbour_load * 100))


def live_state_word(current_rate: float, neighbour_load: float) -> int:
    """Return the same as one number, for a single aligned store."""
    return int(current_rate * 100 + 0.5) | int(neighbour_load * 100 + 0.5) << 32


def read_live_state(content: bytes, position: int) -> tuple[float, float]:
    """Return `current_rate` and `neighbour_load`, percent, of the GPU at this position of the policy."""
    current_rate, neighbour_load = LIVE_STATE.unpack_from(content, live_state_offset(position))
    return current_rate / 100, neighbour_load / 100


def live_state_offset(position: int) -> int:
    """Return the file offset of the live state of the GPU at this position of the policy."""
    return GPUS_OFFSET + position * ENTRY_SIZE + LIVE_STATE_OFFSET


def unpack(content: bytes) -> Policy:
    """Return the policy that `pack` wrote, without its live state.

    Raises Malformed if magic, version or size differ.
    """
    if len(content) != SIZE:
        raise errors.Malformed(f"policy file has {len(content)} bytes, not {SIZE}")
    magic, version, size, _, count, flags, compute, priority = HEADER.unpack_from(content)
    if (magic, version, size) != (MAGIC, VERSION, SIZE) or count > MAX_GPUS or compute not in _COMPUTE_BACK:
        raise errors.Malformed(f"policy file is not of version {VERSION} (magic {magic:#x}, version {version})")
    gpus = []
    for position in range(count):
        uuid, memory, cores, ceiling = ENTRY.unpack_from(content, GPUS_OFFSET + position * ENTRY_SIZE)
        text = GpuUuid(uuid.rstrip(b"\0").decode("ascii", "replace"))
        gpus.append(GpuLimit(text, Bytes(memory), Percent(cores), Percent(ceiling)))
    return Policy(
        gpus=tuple(gpus),
        memory_enforced=bool(flags & FLAG_MEMORY),
        cores_enforced=bool(flags & FLAG_CORES),
        compute=_COMPUTE_BACK[compute],
        priority=priority,
    )
