"""The NUMA node of a PCI device, from sysfs, which shows the machine's devices in every container."""

import contextlib
from pathlib import Path

SYSFS = Path("/sys")


def node_of(bus: str, sysfs: Path = SYSFS) -> int | None:
    """Return the NUMA node of the device with this bus ID, as NVML prints it (`00000000:3B:00.0`).

    None where it isn't known, or the machine has no more than one.
    """
    domain, _, rest = bus.lower().partition(":")
    with contextlib.suppress(OSError, ValueError):
        found = int((sysfs / "bus/pci/devices" / f"{domain[-4:]}:{rest}" / "numa_node").read_text())
        return found if found >= 0 else None
    return None
