"""The event on a pod that fits a node's totals and none of its GPUs says what would help, and following it helps."""

import re
from pathlib import Path

import pytest

from scheduler import no_room
from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer, Json
from tests.integration.scheduler.extender import GPU, Caller, asking, inventory, until
from unigpu import gpus, lowering, names
from unigpu.lowering import Amounts, Lowerable
from unigpu.units import GpuUuid, MiB


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(no_room, "DELAY", 0.0)
    monkeypatch.setattr(no_room, "PACE", 0.0)


def told(api: ApiServer, name: str) -> list[str]:
    """What events say about a pod."""
    found = [event for event in api.said if event["involvedObject"]["name"] == name]
    assert {event["reason"] for event in found} <= {names.EVENT_NO_ROOM}
    return [event["message"] for event in found]


async def occupied(api: ApiServer, caller: Caller, count: int = 2, priority: int = 0) -> None:
    """Each GPU of node n1 has a pod that leaves a quarter of it."""
    for number in range(count):
        pod = await api.add_pod(f"holder-{number}", asking(memory=GPU * 3 // 4), priority=priority)
        assert await caller.bind(pod, "n1") == ""
    await caller.until(names.METRIC_SCHEDULER_ASSUMED, 0)


async def refused(caller: Caller, pod: Json) -> None:
    assert (await caller.filter(pod, ["n1"]))["NodeNames"] == []


async def test_a_smaller_request_that_the_event_names_fits(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    async with extender.inside(api, tmp_path) as caller:
        await occupied(api, caller)
        await refused(caller, await api.add_pod("p", asking(memory=GPU // 2)))
        await until(lambda: told(api, "p"), "an event")
        (said,) = told(api, "p")
        found = re.search(r"With up to (\d+) MiB instead of \d+ MiB, the pod fits on node n1\.", said)
        assert found is not None, said
        smaller = await api.add_pod("smaller", asking(memory=int(found[1])))
        assert (await caller.filter(smaller, ["n1"]))["NodeNames"] == ["n1"]
        await refused(caller, await api.add_pod("larger", asking(memory=int(found[1]) + 1)))


async def test_a_pod_whose_end_the_event_proposes_makes_room(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    async with extender.inside(api, tmp_path) as caller:
        await occupied(api, caller)
        pod = await api.add_pod("p", asking(memory=GPU // 2))
        await refused(caller, pod)
        await until(lambda: told(api, "p"), "an event")
        found = re.search(r"Once pod (\S+) has ended, node n1 takes it\.", told(api, "p")[0])
        assert found is not None
        await api.remove("pods", found[1])
        await caller.until(names.METRIC_SCHEDULER_PODS, 1)
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]
        assert await caller.bind(pod, "n1") == ""


async def test_a_cordoned_node_and_limits_that_could_be_lowered(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await api.add_node("n2", inventory("n2", 1))
    await api.change("nodes", "n2", lambda node: node.update(spec={"unschedulable": True}))
    async with extender.inside(api, tmp_path, shrink_before_evicting=True) as caller:
        await occupied(api, caller, 1, priority=-1)
        most, least = Amounts(MiB(GPU * 3 // 4)), Amounts(MiB(GPU // 4))
        holder = Lowerable(api.pod("holder-0")["metadata"]["uid"], "main", (GpuUuid("GPU-n1-0"),), most, least)
        annotations = api.objects["nodes"]["n1"]["metadata"]["annotations"]
        text = lowering.dump([holder], gpus.load(annotations[names.ANNOTATION_INVENTORY]))
        await api.change(
            "nodes", "n1", lambda node: node["metadata"]["annotations"].update({names.ANNOTATION_LOWERABLE: text})
        )
        # A change that was shown later shows that the one before was seen.
        await api.add_node("n3", inventory("n3", 1))
        await caller.until(names.METRIC_SCHEDULER_GPUS, 3)
        await refused(caller, await api.add_pod("p", asking(memory=GPU // 2)))
        await until(lambda: told(api, "p"), "an event")
        (said,) = told(api, "p")
        assert "Node n2 would fit, and is cordoned: `kubectl uncordon n2`." in said
        assert (
            f"With lower limits, node n1 takes it: pod default/holder-0, container main: memory {GPU * 3 // 4} -> "
            f"{GPU // 2} MiB" in said
        )
        assert api.pod("holder-0")["metadata"]["annotations"].get(names.ANNOTATION_LOWERED) is None, "only proposed"


async def test_the_answer_does_not_wait_for_the_event(api: ApiServer, tmp_path: Path) -> None:
    """The API server doesn't answer, and filter does."""
    await api.add_node("n1", inventory("n1", 2))
    async with extender.inside(api, tmp_path) as caller:
        await occupied(api, caller)
        api.hold_saying.clear()
        first = await api.add_pod("first", asking(memory=GPU // 2))
        await refused(caller, first)
        await until(lambda: api.saying, "an event on its way")
        for number in range(20):
            await refused(caller, await api.add_pod(f"p{number}", asking(memory=GPU // 2)))
        await refused(caller, first)
        assert api.said == []
        api.hold_saying.set()
        await until(lambda: len(api.said) == 21, "an event for each")
        assert all(len(told(api, f"p{number}")) == 1 for number in range(20)) and len(told(api, "first")) == 1


async def test_an_api_server_that_refuses_events_keeps_nobody_from_scheduling(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    async with extender.inside(api, tmp_path) as caller:
        await occupied(api, caller)
        api.saying_status = 403
        pod = await api.add_pod("p", asking(memory=GPU // 2))
        await refused(caller, pod)
        await until(lambda: api.saying, "an event on its way")
        api.saying_status = None
        small = await api.add_pod("small", asking(memory=100))
        assert await caller.bind(small, "n1") == ""

        async def again() -> bool:
            await refused(caller, pod)
            return bool(told(api, "p"))

        await until(again, "the event at a later attempt")


async def test_only_the_extender_that_is_asked_writes(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    (tmp_path / "other").mkdir()
    async with extender.inside(api, tmp_path) as caller, extender.inside(api, tmp_path / "other") as standby:
        await occupied(api, caller)
        await standby.until(names.METRIC_SCHEDULER_PODS, 2)
        for number in range(5):
            await refused(caller, await api.add_pod(f"p{number}", asking(memory=GPU // 2)))
        await until(lambda: len(api.said) == 5, "five events")
        # The other leads now, and is asked for the same pods: what it writes is the same event.
        for number in range(5):
            await refused(standby, api.pod(f"p{number}"))
        await until(lambda: len(api.saying) == 10, "the same again")
        await until(lambda: len(api.said) == 5, "no other")
        assert {event["metadata"]["name"] for event in api.saying} == {event["metadata"]["name"] for event in api.said}


async def test_a_pod_is_told_nothing_where_the_reason_says_what_to_do(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    await api.add_node("plain")
    async with extender.inside(api, tmp_path) as caller:
        await occupied(api, caller)
        await refused(caller, await api.add_pod("skipped-the-webhook"))
        nowhere = await api.add_pod("nowhere", asking(memory=1))
        assert (await caller.filter(nowhere, ["plain"]))["NodeNames"] == []
        fits = await api.add_pod("fits", asking(memory=1))
        assert (await caller.filter(fits, ["n1", "plain"]))["NodeNames"] == ["n1"]
        await refused(caller, await api.add_pod("last", asking(memory=GPU // 2)))
        await until(lambda: told(api, "last"), "the last one's event")
        assert {event["involvedObject"]["name"] for event in api.said} == {"last"}
