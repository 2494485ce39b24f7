"""The agent's eyes over a /proc made of files, with real locks on real usage files."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deviceplugin.node import grant_watch, incident_words
from deviceplugin.node.offenders import Offenders
from deviceplugin.node.report_writer import ReportWriter
from tests.unit.deviceplugin.grant_world import DEBUGGER, MAIN, OTHER, UID, A, B, World, keeper, world
from unigpu import breaches, names, node_report, usage
from unigpu.allocations import Share
from unigpu.breaches import Kind
from unigpu.gpus import Fault, Gpu
from unigpu.units import Bytes, MiB, Percent
from unigpu.walls import Walls
from unigpu_node import locks, usage_file

__all__ = ["keeper", "world"]  # fixtures


async def test_a_container_within_its_share(world: World, keeper: Callable[[Path], int]) -> None:
    pid = keeper(world.grant())
    world.pod(main=MAIN)
    world.process(pid, MAIN)
    await world.lasting((pid, A, 3200))
    assert world.kinds() == []
    assert await world.written() == []
    assert world.changes == 0


async def test_too_much_memory_is_said_once_and_again_when_it_ends(world: World, keeper: Callable[[Path], int]) -> None:
    pid = keeper(world.grant())
    world.pod(main=MAIN)
    world.process(pid, MAIN)
    await world.observe((pid, A, 13_517))
    assert world.kinds() == []
    await world.lasting((pid, A, 13_517))
    await world.lasting((pid, A, 13_517))
    assert world.kinds() == [(Kind.MEMORY, A, "main")]
    assert world.watch.foreign == {A: 10_368}
    text = f"container main uses 13517 MiB of GPU 0 (GPU-a), and 3200 MiB are granted; process {pid} (python)"
    expected = [("Node", names.EVENT_BREACH, f"pod team/pod: {text}"), ("Pod", names.EVENT_BREACH, text)]
    assert await world.written() == expected
    await world.lasting((pid, A, 3000))
    assert world.kinds() == []
    assert world.watch.foreign == {}
    assert [(kind, reason) for kind, reason, _ in await world.written()] == [
        ("Node", names.EVENT_BREACH),
        ("Node", names.EVENT_BREACH_ENDED),
        ("Pod", names.EVENT_BREACH),
        ("Pod", names.EVENT_BREACH_ENDED),
    ]


async def test_a_process_without_libvgpu_and_a_gpu_that_was_not_granted(world: World) -> None:
    world.grant()
    world.pod(main=MAIN)
    world.process(7, MAIN, "static\x1b")
    await world.lasting((7, A, 100), (7, B, 300))
    assert world.kinds() == [(Kind.GPU, B, "main"), (Kind.UNMANAGED, A, "main")]
    assert world.watch.foreign == {B: 320}
    messages = [text for kind, _, text in await world.written() if kind == "Pod"]
    assert messages == [
        "container main uses 300 MiB of GPU 1 (GPU-b), a GPU that isn't granted to it; process 7 (static?)",
        "container main uses GPU 0 (GPU-a) without libvgpu, which holds a lock for each process; process 7 (static?)",
    ]


async def test_isolation_that_is_off_blames_nobody_and_counts(world: World) -> None:
    world.grant(isolated=False)
    world.pod(main=MAIN)
    world.process(7, MAIN)
    await world.lasting((7, A, 9600))
    assert world.kinds() == [(Kind.UNENFORCED, A, "main")]
    assert world.watch.foreign == {A: 6400}
    assert await world.written() == []


async def test_strangers_on_the_host_and_in_a_container_without_a_grant(world: World) -> None:
    world.grant()
    world.pod(main=MAIN, debugger=DEBUGGER)
    for pid in range(20, 27):
        world.process(pid, None, "miner")
    world.process(30, DEBUGGER)
    await world.lasting(*((pid, B, 1000) for pid in range(20, 27)), (30, A, 640))
    assert world.kinds() == [(Kind.STRANGER, A, "debugger"), (Kind.STRANGER, B, "")]
    assert world.watch.foreign == {A: 640, B: 7040}
    assert await world.written() == [
        (
            "Node",
            names.EVENT_STRANGER,
            "7000 MiB of GPU 1 (GPU-b) are held outside every container with a grant; "
            "processes 20 (miner), 21 (miner), 22 (miner), 23 (miner), 24 (miner) and 2 more",
        ),
        (
            "Node",
            names.EVENT_STRANGER,
            "pod team/pod: container debugger has no grant on this node and holds 640 MiB of GPU 0 (GPU-a); "
            "process 30 (python)",
        ),
        (
            "Pod",
            names.EVENT_STRANGER,
            "container debugger has no grant on this node and holds 640 MiB of GPU 0 (GPU-a); process 30 (python)",
        ),
    ]


async def test_a_process_that_has_ended_is_no_stranger(world: World) -> None:
    await world.lasting((99, A, 1000))
    assert world.kinds() == []


async def test_a_container_that_the_status_does_not_show_yet(world: World, keeper: Callable[[Path], int]) -> None:
    pid = keeper(world.grant())
    world.process(pid, MAIN)
    await world.lasting((pid, A, 3200))
    assert world.kinds() == []
    world.grant("second", 1000)
    world.process(8, OTHER)
    await world.lasting((pid, A, 3200), (8, A, 1000))
    assert world.kinds() == []  # which of the two it is isn't known: together they have as much
    await world.lasting((pid, A, 3200), (8, A, 3000))
    assert world.kinds() == [(Kind.MEMORY, A, "")]
    world.pod(main=MAIN, second=OTHER)
    await world.lasting((pid, A, 3200), (8, A, 1000))
    assert world.kinds() == [(Kind.UNMANAGED, A, "second")]


async def test_memory_held_when_a_limit_was_lowered(world: World, keeper: Callable[[Path], int]) -> None:
    pid = keeper(world.grant())
    world.pod(main=MAIN)
    world.process(pid, MAIN)
    await world.observe((pid, A, 3000))
    world.grants.amend((UID, "main"), shares=(Share(A, MiB(1000), Percent(10)),), changes=1)
    await world.lasting((pid, A, 3000))
    assert world.kinds() == []
    await world.lasting((pid, A, 3200))
    assert world.kinds() == [(Kind.MEMORY, A, "main")]


async def test_the_next_agent_goes_on_and_says_nothing_twice(world: World, tmp_path: Path) -> None:
    world.process(7, None)
    await world.lasting((7, A, 1000))
    assert len(await world.written()) == 1
    writer = ReportWriter(tmp_path, "boot")
    writer.write(list(world.node.now.gpus.values()), world.watch.entries, Walls())

    (tmp_path / "next").mkdir()
    following = World(tmp_path / "next")
    following.process(7, None)
    following.watch.restore(ReportWriter(tmp_path, "boot").earlier().findings)
    assert following.watch.foreign == {A: 1024}
    await following.lasting((7, A, 1000))
    assert await following.written() == []
    await following.lasting()
    assert [reason for _, reason, _ in await following.written()] == [names.EVENT_STRANGER_GONE]
    assert ReportWriter(tmp_path, "another boot").earlier() == node_report.Report()


async def test_a_breach_that_lasts_is_ended_in_its_container_only(world: World, keeper: Callable[..., int]) -> None:
    folder = world.grant()
    offender, honest = keeper(folder), keeper(folder, 4)
    world.pod(main=MAIN)
    world.process(offender, MAIN)
    world.process(honest, None)
    world.watch.offenders = Offenders(world.table, world.watch.container_of, 0.3)
    await world.lasting((offender, A, 9000), (honest, A, 9000))
    os.kill(offender, 0)  # it lives
    await world.lasting((offender, A, 9000), (honest, A, 9000))
    await world.lasting((offender, A, 9000), (honest, A, 9000))
    events = await world.written()
    killed = [text for kind, reason, text in events if (kind, reason) == ("Pod", names.EVENT_OFFENDERS_KILLED)]
    assert killed == [
        f"ended process {offender} (python): container main uses 9000 MiB of GPU 0 (GPU-a), and 3200 MiB are granted; "
        f"process {offender} (python)"
    ]
    pid, status = await asyncio.to_thread(os.waitpid, offender, 0)
    assert (pid, os.WTERMSIG(status)) == (offender, signal.SIGKILL)
    os.kill(honest, 0)  # it lives


async def test_a_process_that_is_not_surely_the_containers_is_left_alone(
    world: World, keeper: Callable[[Path], int]
) -> None:
    pid = keeper(world.grant())
    world.process(pid, MAIN)  # no status shows this container's ID
    world.watch.offenders = Offenders(world.table, world.watch.container_of, 0)
    await world.lasting((pid, A, 9000))
    await world.lasting((pid, A, 9000))
    assert world.kinds() == [(Kind.MEMORY, A, "main")]
    os.kill(pid, 0)  # it lives
    assert names.EVENT_OFFENDERS_KILLED not in {reason for _, reason, _ in await world.written()}


async def test_a_breach_that_comes_and_goes_does_not_flood_the_api_server(world: World) -> None:
    world.grant()
    world.pod(main=MAIN)
    finding = breaches.Finding(breaches.Key(Kind.GPU, B, UID, "main"), Bytes(1))
    for minute in range(30):
        lasting = breaches.Lasting(finding, 0, 0, True, f"2026-01-01T00:{minute:02}:00Z")
        world.reports.began(lasting)
        world.reports.ended(lasting)
    reasons = [reason for _, reason, _ in await world.written()]
    assert reasons.count(names.EVENT_BREACH) == reasons.count(names.EVENT_BREACH_ENDED) == 20
    world.reports.began(breaches.Lasting(dataclasses.replace(finding, key=breaches.Key(Kind.STRANGER, B)), 0, 0, True))
    assert names.EVENT_STRANGER in {reason for _, reason, _ in await world.written()}


async def test_events_wait_for_the_api_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deviceplugin.node.incident_reports._PAUSE", 0.01)
    world.process(7, None)
    world.api.down = True
    await world.lasting((7, A, 1000))
    assert await world.written() == []
    world.api.down = False
    world.reports._wake.set()
    assert len(await world.written()) == 1


async def test_gpus_that_fail_and_recover(world: World) -> None:
    world.grant()
    world.pod(main=MAIN)
    before = world.node.now.gpus
    fault = Fault("XID 79, which needs a reset of the GPU", "2026-01-01T00:00:00Z")
    failed = Gpu(A, 0, 0, "T4", MiB(24576), healthy=False, fault=fault)
    after = {A: failed, B: before[B]}
    world.reports.health(before, after.values())
    world.reports.health(after, after.values())
    text = "GPU 0 (GPU-a) is unhealthy since 2026-01-01T00:00:00Z: XID 79, which needs a reset of the GPU"
    assert await world.written() == [
        ("Node", names.EVENT_GPU_UNHEALTHY, text),
        ("Pod", names.EVENT_GPU_UNHEALTHY, text),
    ]
    world.reports.health(after, before.values())
    assert [(kind, reason) for kind, reason, _ in await world.written()] == [
        ("Node", names.EVENT_GPU_HEALTHY),
        ("Node", names.EVENT_GPU_UNHEALTHY),
        ("Pod", names.EVENT_GPU_HEALTHY),
        ("Pod", names.EVENT_GPU_UNHEALTHY),
    ]


def test_an_event_has_one_name_for_one_incident() -> None:
    assert incident_words.event_name("a", "b", "c") == incident_words.event_name("a", "b", "c")
    assert incident_words.event_name("a", "b", "c") != incident_words.event_name("a", "bc")


def test_lock_holders_by_pid(tmp_path: Path, keeper: Callable[..., int]) -> None:
    usage_file.create(tmp_path / "usage")
    pids = {keeper(tmp_path, slot) for slot in (0, 3, 4, usage.SLOT_COUNT - 1)}
    keeper(tmp_path, usage.SLOT_COUNT)  # no slot
    descriptor = usage_file.open_for_reading(tmp_path / "usage")
    try:
        assert locks.holders(descriptor) == pids
    finally:
        os.close(descriptor)


def test_a_report_that_is_not_one_is_left_out(tmp_path: Path) -> None:
    writer = ReportWriter(tmp_path, "boot")
    assert writer.earlier() == node_report.Report()
    (tmp_path / node_report.REPORT_FILE).write_text("{")
    assert writer.earlier() == node_report.Report()


def test_what_is_allowed_together() -> None:
    share = {A: Bytes(1)}
    together = grant_watch._together([breaches.Allowance(share), breaches.Allowance({A: Bytes(2), B: None})])
    assert together == breaches.Allowance({A: Bytes(3), B: None}, locks=False)
