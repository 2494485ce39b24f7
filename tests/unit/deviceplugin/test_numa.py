"""The NUMA node of a PCI device, from a tree as sysfs has it."""

from pathlib import Path

import pytest

from deviceplugin.node import numa


@pytest.mark.parametrize(
    ("written", "bus", "expected"),
    [
        ("1\n", "00000000:3B:00.0", 1),
        ("0\n", "0000:3b:00.0", 0),
        ("-1\n", "00000000:3B:00.0", None),
        ("?\n", "00000000:3B:00.0", None),
        ("1\n", "00000000:3C:00.0", None),
        ("1\n", "", None),
    ],
)
def test_the_numa_node_of_a_device(tmp_path: Path, written: str, bus: str, expected: int | None) -> None:
    device = tmp_path / "bus/pci/devices/0000:3b:00.0"
    device.mkdir(parents=True)
    (device / "numa_node").write_text(written)
    assert numa.node_of(bus, tmp_path) == expected
