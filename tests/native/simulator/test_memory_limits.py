"""Limits of control groups on a GPU's memory, set by NVML of driver branch 615."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Client, Machine

MIB = 1 << 20
CONTEXT = 409
OUT_OF_MEMORY = 2
INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, OPERATING_SYSTEM = 2, 3, 6, 17
UNLIMITED = (1 << 64) - 1


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A control group of its own: of the memory controller where there are several hierarchies."""
    root = Path("/sys/fs/cgroup")
    folder = (root / "memory" if (root / "memory").is_dir() else root) / f"unigpu-test-{os.getpid()}-{tmp_path.name}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups can't be made here: {error}")
    yield folder
    folder.rmdir()


@pytest.fixture
def two_gpus(machine: "Machine") -> "Machine":
    machine.create("--gpus", "2", "--driver-version", "615.10", "--cuda-version", "13.4")
    return machine


def inside(machine: "Machine", group: Path) -> "Client":
    return machine.client("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")


def test_a_hard_limit_holds_for_the_group_and_nobody_else(group: Path, two_gpus: "Machine") -> None:
    admin = two_gpus.client()
    assert admin.ask("nvml_limits", 0, str(group)) == [NOT_FOUND, 0, 0, 0]
    assert admin.ask("nvml_limit", 0, str(group), 0, 2048 * MIB) == 0
    first, second = inside(two_gpus, group), inside(two_gpus, group)
    assert first.ask("start") == second.ask("start") == admin.ask("start") == 0
    assert first.ask("alloc", 1000 * MIB) == 0
    left = (2048 - 1000 - 2 * CONTEXT) * MIB
    assert second.ask("info")[0] == left
    assert second.ask("alloc", left + 2 * MIB) == OUT_OF_MEMORY
    assert admin.ask("alloc", 8192 * MIB) == inside(two_gpus, group).ask("start", 1) == 0
    assert admin.ask("nvml_limits", 0, str(group)) == [0, 0, 2048 * MIB, (1000 + 2 * CONTEXT) * MIB]
    assert admin.ask("nvml_limit", 0, str(group), 0, 1024 * MIB) == 0
    assert second.ask("alloc", 2 * MIB) == OUT_OF_MEMORY, "a limit may go below what is used"
    assert admin.ask("nvml_limit", 0, str(group), 0, UNLIMITED) == 0
    assert second.ask("alloc", 4096 * MIB) == 0
    for client in two_gpus.clients:
        client.kill()


def test_a_limit_does_not_count_managed_memory(group: Path, two_gpus: "Machine") -> None:
    admin, member = two_gpus.client(), inside(two_gpus, group)
    assert admin.ask("nvml_limit", 0, str(group), 0, 1024 * MIB) == 0
    assert member.ask("start") == member.ask("alloc_managed", 4096 * MIB) == 0
    assert admin.ask("nvml_limits", 0, str(group))[3] == CONTEXT * MIB
    assert admin.ask("start") == 0
    assert admin.ask("info")[1] - admin.ask("info")[0] == (4096 + 2 * CONTEXT) * MIB, "it is on the GPU"
    assert member.ask("alloc", (1024 - CONTEXT) * MIB + 1) == OUT_OF_MEMORY
    for client in two_gpus.clients:
        client.kill()


def test_a_soft_limit_keeps_memory_from_others(group: Path, two_gpus: "Machine") -> None:
    admin = two_gpus.client()
    assert admin.ask("start") == 0
    free = admin.ask("info")[0]
    assert admin.ask("nvml_limit", 0, str(group), 4096 * MIB, 8192 * MIB) == 0
    assert admin.ask("info")[0] == free - 4096 * MIB
    assert admin.ask("alloc", free) == OUT_OF_MEMORY
    assert admin.ask("alloc", free - 4096 * MIB) == 0
    member = inside(two_gpus, group)
    assert member.ask("start") == member.ask("alloc", (4096 - CONTEXT - 1) * MIB) == 0
    for client in two_gpus.clients:
        client.kill()


def test_a_removed_group_takes_its_limit_with_it(group: Path, two_gpus: "Machine") -> None:
    admin = two_gpus.client()
    for number in range(200):  # more than there is room for
        inner = group / str(number)
        inner.mkdir()
        assert admin.ask("nvml_limit", 0, str(inner), 0, MIB) == 0
        inner.rmdir()
    inner.mkdir()
    assert admin.ask("nvml_limits", 0, str(inner)) == [NOT_FOUND, 0, 0, 0]
    inner.rmdir()


def test_what_is_refused(group: Path, two_gpus: "Machine") -> None:
    admin = two_gpus.client()
    assert admin.ask("nvml_limit", 0, str(group), 2 * MIB, MIB) == INVALID_ARGUMENT
    assert admin.ask("nvml_limit", 0, str(group), 0, 1 << 50) == INVALID_ARGUMENT
    assert admin.ask("nvml_limit", 0, "/sys/fs/cgroup/none", 0, MIB) == OPERATING_SYSTEM
    two_gpus.command("set", "--mig", "on")
    assert admin.ask("nvml_limit", 0, str(group), 0, MIB) == NOT_SUPPORTED


def test_older_drivers_have_no_limits(group: Path, machine: "Machine") -> None:
    machine.create("--driver-version", "610.20")
    assert machine.client().ask("nvml_limit", 0, str(group), 0, MIB) == NOT_SUPPORTED
