"""What the node agent does again and again doesn't grow with the containers while nothing changes."""

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

from deviceplugin.allocation import grant_repair
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.grant_repair import GrantRepair
from deviceplugin.allocation.usage_guard import UsageGuard
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.limits.policy_writer import PolicyWriter
from deviceplugin.node.node_state import Node, NodeState
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from tests.unit.deviceplugin.grant_world import MAIN, A, World, world
from unigpu import allocations, grants, limits, names, requests, usage
from unigpu.allocations import Allocation, Share
from unigpu.breaches import Kind
from unigpu.grants import Grant
from unigpu.limits import Applied, Limit
from unigpu.policy import GpuLimit, Policy
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent, to_bytes

__all__ = ["world"]  # a fixture

GPU = GpuUuid("GPU-0")
COUNT = 40


def store_of(root: Path) -> ContainerStore:
    """Many containers, with a share each."""
    store = ContainerStore(root / "containers")
    for number in range(COUNT):
        share = Share(GPU, MiB(100), Percent(1))
        grant = Grant(
            "n", f"p-{number}", f"uid-{number}", "main", (f"slot-{number}",), (share,), {GPU: 0}, True, "hami"
        )
        store.write(grant, Policy((GpuLimit(GPU, to_bytes(MiB(100)), Percent(1), Percent(1)),), True, True))
    return store


async def test_usage_files_take_one_hop_and_only_what_needs_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path)
    guard = UsageGuard(store, GrantLedger(store.load()), cast("Any", None), cast("Any", None))
    (store.of("uid-3", "main") / grants.USAGE_FILE).chmod(0o600)
    hops, mended = [], []
    to_thread, mend = asyncio.to_thread, store.mend_usage

    async def counted(function: Any, *arguments: Any) -> Any:
        hops.append(function.__name__)
        return await to_thread(function, *arguments)

    def noted(uid: str, container: str) -> int:
        mended.append(uid)
        return mend(uid, container)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    monkeypatch.setattr(store, "mend_usage", noted)
    await guard.round(whole=True)
    assert mended == ["uid-3"]
    assert len(hops) == 2, "the containers' files, and those of removed containers"
    assert (store.of("uid-3", "main") / grants.USAGE_FILE).stat().st_mode & 0o777 == 0o666


def test_sound_grants_are_read_once_and_damaged_ones_until_they_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path)
    ledger = GrantLedger({})
    nobody: Any = None
    repair = GrantRepair(nobody, nobody, PodCache(), ledger, store, lambda: None)
    monkeypatch.setattr(grant_repair, "AT_ONCE", 16)
    read: list[str] = []
    damaged = store._is_damaged

    def counted(key: tuple[str, str]) -> bool:
        read.append(key[0])
        return damaged(key)

    monkeypatch.setattr(store, "_is_damaged", counted)
    for _ in range(10):
        assert repair._look() == set()
    assert sorted(read) == sorted(f"uid-{number}" for number in range(COUNT))
    file = store.of("uid-5", "main") / grants.GRANT_FILE
    whole = file.read_text()
    file.write_text("{")
    seen = [repair._look() for _ in range(6)]
    assert {("uid-5", "main")} in seen
    assert repair._look() == {("uid-5", "main")}, "again, even out of its turn"
    file.write_text(whole)
    assert repair._look() == set()


async def test_a_sample_that_says_the_same_is_examined_every_second_time(world: World) -> None:
    world.grant(isolated=False)
    world.pod(main=MAIN)
    world.process(7, MAIN)
    examined = 0
    read = world.table.read

    def counted(pids: Any) -> Any:
        nonlocal examined
        examined += 1
        return read(pids)

    world.table.read = counted  # type: ignore[method-assign]
    for _ in range(9):
        await world.observe((7, A, 100))
    assert examined == 5
    await world.observe((7, A, 101))
    assert examined == 6
    world.pod(main=MAIN)
    await world.observe((7, A, 101))
    assert examined == 7, "the pod may be another one"
    for _ in range(9):
        await world.observe()
    assert examined == 8, "nobody uses a GPU"
    await world.lasting((7, A, 9600))
    assert world.kinds() == [(Kind.UNENFORCED, A, "main")]


async def test_limits_in_force_are_checked_again_when_memory_in_use_changes(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    ledger, cache, node = GrantLedger(store.load()), PodCache(), NodeState(Node("node", ""))
    reports: Any = Reports()
    reconciler = LimitReconciler(cache, ledger, node, PolicyWriter(store, ledger, node, lambda: None), reports)
    for number in range(COUNT):
        cache.observe(limited(f"uid-{number}", f"p-{number}"))
    due: list[str] = []
    guarded = reconciler._guarded

    async def noted(uid: str, *, rewrite: bool) -> None:
        due.append(uid)
        await guarded(uid, rewrite=rewrite)

    reconciler._guarded = noted  # type: ignore[method-assign]

    async def look() -> list[str]:
        due.clear()
        outdated, reconciler._outdated = reconciler._outdated, set()
        for uid in await reconciler._due(outdated):
            await reconciler._guarded(uid, rewrite=uid in outdated)
        return sorted(due)

    everybody = sorted(f"uid-{number}" for number in range(COUNT))
    assert await look() == everybody
    await look()  # what was written since
    assert await look() == []
    descriptor = os.open(store.of("uid-9", "main") / grants.USAGE_FILE, os.O_RDWR)
    os.pwrite(descriptor, (50 << 20).to_bytes(8, "little"), usage.TOTALS_OFFSET)
    os.close(descriptor)
    assert await look() == ["uid-9"]
    assert await look() == []
    reconciler.mark_all()
    assert await look() == everybody


class Reports:
    """No event is written."""

    def problem(self, pod: Pod, what: str, error: Exception) -> bool:
        raise AssertionError(f"{what}: {error}")

    def clear(self, uid: str) -> None:
        """As if there had been a problem."""


def limited(uid: str, name: str) -> Pod:
    """A pod whose limits are set by hand, and in force."""
    request = PodRequest({"main": Request(gpus=1, memory=MiB(200), cores=Percent(1))})
    share, to = Share(GPU, MiB(200), Percent(1)), {"main": Limit(memory=MiB(100))}
    return Pod(
        "n",
        name,
        uid,
        annotations={
            names.ANNOTATION_REQUEST: requests.dump(request),
            names.ANNOTATION_ALLOCATION: allocations.dump(Allocation("node", {"main": (share,)})),
            names.ANNOTATION_LIMITS: limits.dump(to),
            names.ANNOTATION_LIMITS_APPLIED: limits.dump_applied(Applied(to)),
        },
    )


async def test_who_waits_for_a_grant_goes_on_with_the_first_one(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    known = store.load()
    ledger = GrantLedger({})
    waiting = asyncio.ensure_future(ledger.filled())
    await asyncio.sleep(0)
    assert not waiting.done()
    version = ledger.version
    ledger.enter(next(iter(known.values())).grant)
    await waiting
    assert ledger.version != version
    assert ledger.pod_uids() == {"uid-0"}
    ledger.remove(("uid-0", "main"))
    assert ledger.of_pod("uid-0") == {}
    assert ledger.pod_uids() == frozenset()
