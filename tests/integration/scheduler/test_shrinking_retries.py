"""A pod for which limits were lowered is tried again: also one that keeps its vendor's resources.

The kube-scheduler's own side of this is in tests/fleet/test_shrinks.py.
"""

import functools
from asyncio import all_tasks
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler import shrinking
from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer, Json
from tests.integration.scheduler.extender import GPU, Caller, asking, inventory, until
from tests.integration.scheduler.test_shrinking import (
    LOWERED,
    evicted,
    fits,
    halves,
    in_force,
    memory_of,
    urgent,
    victims,
)
from unigpu import names, shrinks

WANTED = 8192
KEPT = {"aliyun.com/gpu-mem": "8", names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(WANTED)}


@asynccontextmanager
async def running(api: ApiServer, folder: Path) -> AsyncIterator[Caller]:
    async with extender.inside(api, folder, shrink_before_evicting=True, kube_scheduler_version="v1.33.0") as caller:
        yield caller


async def kept(api: ApiServer) -> Json:
    """A pod of higher priority that keeps a vendor's resource beside unigpu's."""
    pod = await urgent(api, WANTED)

    def write(document: Json) -> None:
        document["spec"]["containers"][0]["resources"] = {"requests": KEPT, "limits": KEPT}

    return await api.change("pods", f"default/{pod['metadata']['name']}", write)


async def offer_totals(api: ApiServer, memory: int) -> None:
    amounts = {names.RESOURCE_MEMORY: str(memory)}
    await api.change("nodes", "n1", lambda node: node["status"].update(capacity=amounts, allocatable=amounts))


def lowered(api: ApiServer, uids: Mapping[str, Any]) -> list[str]:
    return [name for name in uids if LOWERED in api.pod(name)["metadata"]["annotations"]]


async def spared(api: ApiServer, caller: Caller, uids: dict[str, str]) -> str:
    """Ask for victims of a pod that keeps a vendor's resource, and return whose limits are lowered instead."""
    pod = await kept(api)
    assert await caller.preempt(pod, victims(uids, "a")) == {}
    await until(lambda: api.nominated == [("urgent", "n1")], "the pod to be nominated")
    (name,) = lowered(api, uids)
    return name


async def test_the_nomination_is_taken_back_once_totals_and_gpus_have_room(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "_LOOK", 0.001)
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b")
        await offer_totals(api, WANTED - 1)  # what the pods here ask for isn't in their specs
        name = await spared(api, caller, uids)
        await in_force(api, name)
        await until(functools.partial(fits, caller, api.pod("urgent")), "room on the GPU")
        for _ in range(100):  # in each of which it looks, too
            await caller.metric(names.METRIC_SCHEDULER_NODES)
        assert api.pod("urgent")["status"]["nominatedNodeName"] == "n1", "the GPUs have room, and the totals don't"
        await offer_totals(api, WANTED)
        await until(lambda: api.nominated[1:] == [("urgent", None)], "the kube-scheduler to be told")
        assert await caller.bind(api.pod("urgent"), "n1") == ""


async def test_it_is_told_once_more_while_the_pod_waits(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have tried the pod before it saw the node grow."""
    monkeypatch.setattr(shrinking, "_NEXT_TRY", 0.1)
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b")
        await in_force(api, await spared(api, caller, uids))
        again = [("urgent", None), ("urgent", "n1"), ("urgent", None)]
        await until(lambda: api.nominated[1:4] == again, "two more writes")


@pytest.mark.parametrize("end", ["bound", "deleted", "evicts elsewhere"])
async def test_a_pod_that_waits_no_longer_is_left_alone(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(shrinking, "PATIENCE", 1.0)
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b")
        await spared(api, caller, uids)
        if end == "deleted":
            await api.remove("pods", "default/urgent")
        elif end == "evicts elsewhere":
            await api.change("pods", "default/urgent", lambda pod: pod["status"].update(nominatedNodeName="n2"))
        else:
            await api.change("pods", "default/urgent", lambda pod: pod["spec"].update(nodeName="n2"))
        # Another pod's attempt begins later, and ends later.
        pod = await urgent(api, 4096, "another")
        assert await caller.preempt(pod, victims(uids, "a")) == {}
        await until(lambda: ("another", None) in api.nominated, "the other's patience to end")
        assert [each for each in api.nominated if each[0] == "urgent"] == [("urgent", "n1")]


async def test_where_no_room_comes_it_is_tried_again_and_evicts(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "PATIENCE", 0.5)
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b")
        await spared(api, caller, uids)
        await until(lambda: api.nominated[1:] == [("urgent", None)], "the kube-scheduler to be told")
        assert await evicted(caller, api.pod("urgent"), victims(uids, "a"))


@pytest.mark.parametrize(
    ("restarted", "why"),
    [(False, "PreemptionByScheduler"), (True, "PreemptionByScheduler"), (False, "EvictionByEvictionAPI")],
)
async def test_while_others_leave_for_it_the_nomination_stays(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool, why: str
) -> None:
    """They were evicted because no room had come. Without its nomination, the pod would have more of them evicted."""
    await api.add_node("n1", inventory("n1", 2))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b", "c", "leaving")

    def leave(pod: Json) -> None:
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        pod["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": why}]

    await api.change("pods", "default/leaving", leave)
    if not restarted:
        monkeypatch.setattr(shrinking, "PATIENCE", 0.1)
    async with running(api, tmp_path) as caller:  # it knows who is leaving
        await spared(api, caller, uids)
        if not restarted:
            await until(idle, "the attempt to end")
    if restarted:
        async with running(api, tmp_path):
            await until(idle, "what was begun to be looked at")
    stays = why == "PreemptionByScheduler"
    assert api.nominated[1:] == ([] if stays else [("urgent", None)])


def idle() -> bool:
    """Return whether neither an attempt is under way nor the look for those that others began."""
    return not any(task.get_name().startswith(("settle", "lower limits", "wait for room")) for task in all_tasks())


async def test_an_extender_that_starts_again_goes_on(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    arguments = ("--shrink-before-evicting", "--kube-scheduler-version", "v1.36.3")
    async with extender.outside(api, tmp_path, *arguments) as first:
        await until(first.caller.ready, "the extender to be ready")
        uids = await halves(api, first.caller, "a", "b")
        name = await spared(api, first.caller, uids)
        await first.kill()
    assert memory_of(api, name) == GPU // 2 - WANTED
    # Others were evicted for this pod: it is none of the extender's affair.
    await urgent(api, 1024, "evicts")
    await api.change("pods", "default/evicts", lambda pod: pod["status"].update(nominatedNodeName="n1"))
    async with extender.outside(api, tmp_path, *arguments) as second:
        await until(second.caller.ready, "the extender to be ready")
        await in_force(api, name)
        await until(lambda: api.nominated[1:] == [("urgent", None)], "the kube-scheduler to be told")
    assert api.pod("evicts")["status"]["nominatedNodeName"] == "n1"


async def begun(api: ApiServer, folder: Path) -> str:
    """Have an extender begin to make room and die, and return whose limits it lowered."""
    async with extender.outside(
        api, folder, "--shrink-before-evicting", "--kube-scheduler-version", "v1.36.3"
    ) as first:
        await until(first.caller.ready, "the extender to be ready")
        uids = await halves(api, first.caller, "a", "b")
        name = await spared(api, first.caller, uids)
        await first.kill()
    return name


@pytest.mark.parametrize("status", [403, 503])
async def test_what_could_not_be_read_at_the_start_is_read_later(api: ApiServer, tmp_path: Path, status: int) -> None:
    await api.add_node("n1", inventory("n1", 1))
    name = await begun(api, tmp_path)
    api.listing_status = status
    async with running(api, tmp_path):
        await in_force(api, name)
        await until(lambda: api.refused > 2, "it to be asked again")
        assert api.nominated == [("urgent", "n1")]
        api.listing_status = None
        await until(lambda: api.nominated[1:] == [("urgent", None)], "the kube-scheduler to be told")


async def test_an_extender_takes_over_when_its_kube_scheduler_begins_to_lead(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as standby:
        name = await begun(api, tmp_path)
        await in_force(api, name)
        await standby.until(names.METRIC_SCHEDULER_ASSUMED, 0)
        assert api.nominated == [("urgent", "n1")]
        other = await api.add_pod("other", asking(memory=1))
        await standby.filter(other, ["n1"])
        await until(lambda: api.nominated[1:] == [("urgent", None)], "the kube-scheduler to be told")


@pytest.mark.parametrize("status", [503, 422])
async def test_the_end_of_a_nomination_is_written_however_long_that_takes(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(shrinking, "PATIENCE", 0.3)
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b")
        api.annotating, api.annotating_status = 2, status  # lower limits, and the nomination
        await spared(api, caller, uids)
        await until(lambda: api.refused > 3, "refusals after the attempt")
        assert api.nominated == [("urgent", "n1")]
        api.annotating = None
        await until(lambda: api.nominated[1:] == [("urgent", None)], "the kube-scheduler to be told")
        await until(idle, "the attempt to end")


async def test_lower_limits_are_written_once_the_api_server_answers(api: ApiServer, tmp_path: Path) -> None:
    """Of two pods that have to give, the first was written when it was away; nobody is evicted for that."""
    await api.add_node("n1", inventory("n1", 1))
    async with running(api, tmp_path) as caller:
        uids = await halves(api, caller, "a", "b")
        api.annotating, api.annotating_status = 1, 503
        pod = await urgent(api, 18_000)
        offered = victims(uids, "a", "b")
        assert await caller.preempt(pod, offered) == {}
        await until(lambda: api.refused > 2, "the second to be refused")
        assert len(lowered(api, uids)) == 1
        assert await caller.preempt(pod, offered) == {}, "nobody is evicted"
        api.annotating = None
        await until(lambda: len(lowered(api, uids)) == 2, "both to be lowered")
        assert sum(memory_of(api, name) for name in uids) == GPU - 18_000
        await until(lambda: api.said, "the pod to be told")
        assert all(f"default/{name}" in api.said[0]["message"] for name in uids)


@pytest.mark.parametrize(
    ("version", "possible"),
    [("v1.36.3", True), ("1.33", True), ("v1.32.9", False), ("v1.4", False), ("v1.33+", True), ("", False)],
)
def test_since_kubernetes_1_33(version: str, possible: bool) -> None:
    assert shrinks.tried_again(version) == possible
