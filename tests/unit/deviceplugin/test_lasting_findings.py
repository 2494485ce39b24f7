"""Breaches whose GPU, pod, or event can't be reached any more: kept while they may last, named, and ended."""

import shutil
from pathlib import Path

from deviceplugin.node.report_writer import ReportWriter
from tests.unit.deviceplugin.grant_world import MAIN, UID, A, B, World, world
from unigpu import names
from unigpu.breaches import Kind
from unigpu.walls import Walls

__all__ = ["world"]  # a fixture


async def test_a_breach_ends_with_its_processes_though_its_gpu_can_not_be_read(world: World, tmp_path: Path) -> None:
    world.grant()
    world.pod(main=MAIN)
    world.process(7, MAIN)
    await world.lasting((7, A, 3000))
    assert world.kinds() == [(Kind.UNMANAGED, A, "main")]
    for _ in range(3):
        await world.lasting(gpus=(B,))
        assert world.kinds() == [(Kind.UNMANAGED, A, "main")], "the process lives, and may use the GPU"
    writer = ReportWriter(tmp_path, "boot")
    writer.write(list(world.node.now.gpus.values()), world.watch.entries, Walls())

    world.process(7, MAIN, started=6)  # the pid is another process's now
    await world.lasting(gpus=(B,))
    assert world.kinds() == []
    assert names.EVENT_BREACH_ENDED in {reason for _, reason, _ in await world.written()}

    (tmp_path / "next").mkdir()
    following = World(tmp_path / "next")
    following.process(7, MAIN)
    following.watch.restore(ReportWriter(tmp_path, "boot").earlier().findings)
    await following.lasting(gpus=(B,))
    assert following.kinds() == [(Kind.UNMANAGED, A, "main")]
    shutil.rmtree(following.proc / "7")
    await following.lasting(gpus=(B,))
    assert following.kinds() == []


async def test_a_breach_of_a_pod_that_has_gone_keeps_its_name(world: World) -> None:
    world.grant()
    world.pod(main=MAIN)
    world.process(7, MAIN)
    await world.lasting((7, A, 3000))
    await world.written()
    world.grants.remove((UID, "main"))
    world.cache.forget(UID)
    await world.observe()
    (entry,) = world.watch.entries
    assert (entry.namespace, entry.pod) == ("team", "pod")
    await world.lasting()
    assert world.watch.entries == []
    (text,) = [
        text for kind, reason, text in await world.written() if (kind, reason) == ("Node", names.EVENT_BREACH_ENDED)
    ]
    assert text.startswith("pod team/pod: ")


async def test_an_event_that_is_refused_keeps_no_other_waiting(world: World) -> None:
    world.api.refused = names.EVENT_STRANGER
    world.process(7, None)
    await world.lasting((7, A, 1000))
    await world.lasting()
    assert [reason for _, reason, _ in await world.written()] == [names.EVENT_STRANGER_GONE]
