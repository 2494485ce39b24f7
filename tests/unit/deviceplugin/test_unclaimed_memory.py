"""Memory that no process holds: handed on as a descriptor by a program that has ended. And what only seems so."""

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path

from deviceplugin.node.inventory import Processes, ProcessReading
from tests.unit.deviceplugin.grant_world import MAIN, UID, A, B, World, keeper, world
from unigpu import breaches, names, usage
from unigpu.breaches import Kind
from unigpu.gpus import Fault
from unigpu.units import Bytes, MiB, to_bytes

__all__ = ["keeper", "world"]  # fixtures


def charge(folder: Path, memory: int) -> None:
    """Write into a usage file, as libvgpu does and a hostile program can, that the container has so many MiB in use."""
    with (folder / "usage").open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<II", usage.MAGIC, usage.VERSION), 0)
        os.pwrite(file.fileno(), struct.pack("<Q", memory << 20), usage.TOTALS_OFFSET)


def program(world: World, folder: Path, keeper: Callable[[Path], int]) -> int:
    """Start the container's program, which holds libvgpu's lock; return its pid."""
    pid = keeper(folder)
    world.pod(main=MAIN)
    world.process(pid, MAIN)
    return pid


async def test_it_is_said_and_counted(world: World, keeper: Callable[[Path], int]) -> None:
    """A program took 3,000 MiB, left them with a helper that uses no GPU, and ended; the next one takes 3,000 again."""
    folder = world.grant()
    pid = program(world, folder, keeper)
    charge(folder, 3000)
    await world.observe((pid, A, 3000), used={A: 6000})
    assert world.kinds() == []
    await world.lasting((pid, A, 3000), used={A: 6000})
    assert world.kinds() == [(Kind.UNCLAIMED, A, "")]
    assert world.watch.foreign == {A: 3008}
    ((where, reason, text),) = await world.written()
    assert (where, reason) == ("Node", names.EVENT_STRANGER)
    assert "MiB of GPU 0 (GPU-a) are in use and no process holds them" in text
    await world.lasting((pid, A, 3000))
    assert world.kinds() == [] and world.watch.foreign == {}
    assert [reason for _, reason, _ in await world.written()] == [names.EVENT_STRANGER, names.EVENT_STRANGER_GONE]


async def test_a_forged_account_hides_no_more_than_was_granted(world: World, keeper: Callable[[Path], int]) -> None:
    folder = world.grant(memory=3200)
    pid = program(world, folder, keeper)
    charge(folder, 20_000)
    await world.lasting((pid, A, 100), used={A: 9000})
    assert world.kinds() == [(Kind.UNCLAIMED, A, "")]
    assert 9000 - 3200 - 100 <= world.watch.foreign[A] <= 9000 - 3200 + 64


async def test_managed_memory_is_the_containers_own(world: World, keeper: Callable[[Path], int]) -> None:
    """NVML counts it to no process, and libvgpu charges it."""
    folder = world.grant(memory=3200)
    pid = program(world, folder, keeper)
    charge(folder, 3000)
    await world.lasting((pid, A, 100), used={A: 3100})
    assert world.kinds() == []


async def test_so_is_what_it_held_when_its_limit_was_lowered(world: World, keeper: Callable[[Path], int]) -> None:
    folder = world.grant(memory=500)
    pid = program(world, folder, keeper)
    world.grants.set_overuse((UID, "main"), {A: MiB(3000)})
    charge(folder, 3000)
    await world.lasting((pid, A, 100), used={A: 3100})
    assert world.kinds() == []


async def test_where_nothing_is_enforced_the_account_counts_in_full(
    world: World, keeper: Callable[[Path], int]
) -> None:
    folder = world.grant(memory=500, isolated=False)
    pid = program(world, folder, keeper)
    charge(folder, 3000)
    await world.lasting((pid, A, 100), used={A: 3100})
    assert world.kinds() == []


async def test_an_account_that_is_less_later_is_seen_although_nothing_else_changes(
    world: World, keeper: Callable[[Path], int]
) -> None:
    """The program has ended, and its memory is charged until the node agent notices that."""
    folder = world.grant(memory=3200)
    keeper(folder)
    world.pod(main=MAIN)
    charge(folder, 3000)
    for _ in range(3):
        await world.observe(used={A: 3000})
    assert world.kinds() == []
    charge(folder, 0)
    await world.lasting(used={A: 3000})
    assert world.kinds() == [(Kind.UNCLAIMED, A, "")]


async def test_what_the_driver_takes_besides_is_nobodys(world: World) -> None:
    await world.lasting(used={A: 512, B: 500})
    assert world.kinds() == []


async def test_gpus_of_which_too_little_is_known(world: World) -> None:
    """Faulty, with a process whose memory the driver doesn't say, or without a word on what is in use."""
    gpu = world.node.now.gpus[A]
    world.node.set_gpus((dataclasses.replace(gpu, fault=Fault("in MIG mode", "2026-01-01T00:00:00Z")),))
    await world.lasting(used={A: 9000})
    assert world.kinds() == []
    process = breaches.Process(7, A, None)
    assert breaches.beyond_processes([process], {A: to_bytes(MiB(9000))}) == set()
    assert breaches.beyond_processes([dataclasses.replace(process, memory=Bytes(0))], {A: to_bytes(MiB(9000))}) == {A}
    await world.watch.observe(Processes({A: (ProcessReading(7, Bytes(1)),)}))
    assert world.kinds() == []


def test_all_of_a_whole_gpu_is_its_owners() -> None:
    allowances = {(UID, "main"): breaches.Allowance({A: None})}
    assert breaches.unclaimed(A, to_bytes(MiB(9000)), [], allowances, {}) is None
    assert breaches.unclaimed(B, to_bytes(MiB(9000)), [], allowances, {}) is not None
