"""What libvgpu writes into a container's usage file."""

import struct
from pathlib import Path

from unigpu import usage


def use(file: Path, mib: int) -> None:
    """As libvgpu accounts it for one program."""
    with file.open("r+b") as opened:
        opened.write(struct.pack("<II", usage.MAGIC, usage.VERSION))
        opened.seek(usage.TOTALS_OFFSET)
        opened.write(struct.pack("<Q", mib << 20))
        opened.seek(usage.SLOTS_OFFSET)
        opened.write(struct.pack("<IIQ", 7, 1, 99))
        opened.seek(usage.SLOTS_OFFSET + usage.SLOT_GPUS_OFFSET)
        opened.write(struct.pack("<Q", mib << 20))
