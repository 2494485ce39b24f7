"""Types for units that must not mix, and the conversions between them."""

from typing import NewType

MiB = NewType("MiB", int)
"""Mebibytes (2**20 bytes), the unit of `unigpu.dev/memory` and of all texts for people."""

Bytes = NewType("Bytes", int)
"""Bytes, the unit of the driver and of the policy and usage files."""

Percent = NewType("Percent", int)
"""Percent of one GPU's compute time; 100 is the whole GPU."""

GpuUuid = NewType("GpuUuid", str)
"""A GPU's UUID as NVML prints it: `GPU-` and 36 characters."""

FULL = Percent(100)
"""All of one GPU's compute time."""
BYTES_PER_MIB = 1 << 20
MIB_PER_GIB = 1 << 10
MAX_MEMORY = MiB(256 * 1024 * 1024)
"""256 TiB. A larger amount on one GPU means that the author mistook the unit."""


def to_bytes(mib: MiB) -> Bytes:
    """Convert MiB to bytes."""
    return Bytes(mib * BYTES_PER_MIB)


def to_mib(amount: Bytes) -> MiB:
    """Convert bytes to whole MiB, rounded down."""
    return MiB(amount // BYTES_PER_MIB)


def gib(amount: int) -> MiB:
    """Convert GiB to MiB."""
    return MiB(amount * MIB_PER_GIB)
