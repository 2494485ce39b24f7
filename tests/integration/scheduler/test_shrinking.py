"""Limits are lowered before anybody is evicted, over real sockets; and what happens when that fails half-way."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from scheduler import shrinking
from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer, Json
from tests.integration.scheduler.extender import GPU, Caller, asking, inventory, until
from unigpu import gpus, limits, lowering, names, requests
from unigpu.lowering import Amounts, Lowerable
from unigpu.units import GpuUuid, MiB, Percent

LIMITS, LOWERED, APPLIED = names.ANNOTATION_LIMITS, names.ANNOTATION_LOWERED, names.ANNOTATION_LIMITS_APPLIED
HALF = GPU // 2
IDLE = MiB(1536)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt ends, and no node is left out, because the machine is slow."""
    monkeypatch.setattr(shrinking, "PATIENCE", 3600.0)
    monkeypatch.setattr(shrinking, "MAX_SECONDS", 3600.0)


async def halves(api: ApiServer, caller: Caller, *pods: str) -> dict[str, str]:
    """Pods of priority 1 that have half a GPU each, on node n1, which offers what they don't hold; their UIDs."""
    found = {}
    for name in pods:
        pod = await api.add_pod(name, asking(memory=HALF), priority=1)
        assert await caller.bind(pod, "n1") == ""
        found[name] = pod["metadata"]["uid"]
    await caller.until(names.METRIC_SCHEDULER_ASSUMED, 0)
    await offer(api, caller, found.values())
    return found


async def offer(api: ApiServer, caller: Caller, uids: Any, memory: MiB = MiB(HALF)) -> None:
    """As the node agent does, once the extender knows the pods; wait until it knows this too."""
    node = api.objects["nodes"]["n1"]
    node_gpus = gpus.load(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
    now, least = Amounts(memory, Percent(0)), Amounts(IDLE, Percent(0))
    found = []
    for uid in uids:
        (pod,) = (one for one in api.objects["pods"].values() if one["metadata"]["uid"] == uid)
        given = extender.allocation(pod)
        assert given is not None
        found.append(Lowerable(uid, "main", (given.containers["main"][0].gpu,), now, least))
    text = lowering.dump(found, node_gpus)

    def write(document: Json) -> None:
        document["metadata"]["annotations"][names.ANNOTATION_LOWERABLE] = text

    await api.change("nodes", "n1", write)
    await shown(api, caller)


async def shown(api: ApiServer, caller: Caller) -> None:
    """Wait until the extender has seen all changes of nodes: one more comes after them."""
    later = f"later-{len(api.objects['nodes'])}"
    await api.add_node(later, inventory(later, 1))
    await caller.until(names.METRIC_SCHEDULER_NODES, len(api.objects["nodes"]))


async def urgent(api: ApiServer, memory: int, name: str = "urgent", **request: Any) -> Json:
    return await api.add_pod(name, asking(memory=MiB(memory), **request), priority=5)


def victims(uids: dict[str, str], *pods: str) -> Json:
    return {"n1": {"Pods": [{"UID": uids[name]} for name in pods], "NumPDBViolations": 0}}


def memory_of(api: ApiServer, pod: str) -> int:
    """MiB that the pod is to be limited to."""
    annotations = api.pod(pod)["metadata"]["annotations"]
    asked = requests.load(annotations[names.ANNOTATION_REQUEST]).containers
    return limits.effective(asked["main"], limits.from_annotations(annotations, asked).get("main")).memory


async def in_force(api: ApiServer, pod: str) -> None:
    """As the node agent reports it."""

    def write(document: Json) -> None:
        annotations = document["metadata"]["annotations"]
        annotations[APPLIED] = annotations[LIMITS]

    await api.change("pods", f"default/{pod}", write)


async def fits(caller: Caller, pod: Json) -> bool:
    return bool((await caller.filter(pod, ["n1"]))["NodeNames"])


async def evicted(caller: Caller, pod: Json, offered: Json) -> bool:
    return bool(await caller.preempt(pod, offered))


async def test_limits_are_lowered_and_nobody_is_evicted(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, shrink_before_evicting=True) as caller:
        uids = await halves(api, caller, "a", "b")
        pod = await urgent(api, 8192)

        async def spared() -> bool:
            assert await caller.preempt(pod, victims(uids, "a")) == {}
            return (
                LOWERED in api.pod("a")["metadata"]["annotations"] or LOWERED in api.pod("b")["metadata"]["annotations"]
            )

        await until(spared, "limits to be lowered")
        assert sorted((memory_of(api, "a"), memory_of(api, "b"))) == [HALF - 8192, HALF], (
            "of one, and no more than needed"
        )
        (name,) = (name for name in ("a", "b") if memory_of(api, name) < HALF)
        record = lowering.record(api.pod(name)["metadata"]["annotations"])
        assert record is not None
        assert (record.purpose, record.before) == ("default/urgent", None)
        await until(lambda: api.said, "the pod to be told")
        (event,) = api.said
        assert (event["involvedObject"]["name"], event["reason"]) == ("urgent", names.EVENT_MAKING_ROOM)
        assert event["message"] == f"limits of pod default/{name} are lowered on node n1; nobody is evicted"
        assert not await fits(caller, pod), "not before they are in force"
        await in_force(api, name)
        await until(functools.partial(fits, caller, pod), "room for the pod")
        other = await api.add_pod("other", asking(memory=4096), priority=1)
        found = await caller.filter(other, ["n1"])
        assert "is kept for pod default/urgent" in found["FailedAndUnresolvableNodes"]["n1"]
        assert await caller.bind(pod, "n1") == ""
        await caller.until(names.METRIC_SCHEDULER_OVERBOOKED, 0)


async def test_the_next_attempt_evicts_where_no_room_came(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrinking, "PATIENCE", 0.0)
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, shrink_before_evicting=True) as caller:
        uids = await halves(api, caller, "a", "b")
        pod = await urgent(api, 8192)
        assert await caller.preempt(pod, victims(uids, "a")) == {}
        await until(lambda: api.said, "limits to be lowered")
        assert await evicted(caller, pod, victims(uids, "a"))
        another = await urgent(api, 4096, "another")
        assert await caller.preempt(another, victims(uids, "a")) == {}, "each pod has an attempt"


async def test_the_next_attempt_evicts_where_limits_cannot_be_written(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, shrink_before_evicting=True) as caller:
        uids = await halves(api, caller, "a", "b")
        pod = await urgent(api, 8192)
        api.annotating = 0
        assert await caller.preempt(pod, victims(uids, "a")) == {}
        await until(functools.partial(evicted, caller, pod, victims(uids, "a")), "an eviction")
        assert api.said == []


@pytest.mark.parametrize(
    "case",
    [
        "a whole GPU",
        "more than they can give",
        "pods that aren't less important",
        "switched off",
        "a vendor's resources",
    ],
)
async def test_evicted_at_once_where_lower_limits_make_no_room(api: ApiServer, tmp_path: Path, case: str) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, shrink_before_evicting=case != "switched off") as caller:
        uids = await halves(api, caller, "a", "b")
        if case == "a whole GPU":
            pod = await api.add_pod("urgent", asking(whole=True), priority=5)
        else:
            pod = await urgent(api, GPU if case == "more than they can give" else 8192)
        if case == "a vendor's resources":
            pod["spec"]["containers"][0]["resources"] = {"requests": {"aliyun.com/gpu-mem": "8"}}
        if case == "pods that aren't less important":
            pod["spec"]["priority"] = 1
        assert await evicted(caller, pod, victims(uids, "a", "b"))
        assert all(LOWERED not in api.pod(name)["metadata"]["annotations"] for name in uids)


async def test_an_extender_that_is_killed_half_way_loses_nothing(api: ApiServer, tmp_path: Path) -> None:
    """Two pods have to give, and only the first was written when the extender died."""
    await api.add_node("n1", inventory("n1", 1))
    api.annotating = 1
    async with extender.outside(api, tmp_path, "--shrink-before-evicting") as first:
        await until(first.caller.ready, "the extender to be ready")
        uids = await halves(api, first.caller, "a", "b")
        pod = await urgent(api, 18_000)
        assert await first.caller.preempt(pod, victims(uids, "a", "b")) == {}
        await until(lambda: sum(memory_of(api, name) < HALF for name in uids) == 1, "one to be lowered")
        await first.kill()
    api.annotating = None
    before = {name: memory_of(api, name) for name in uids}
    async with extender.outside(api, tmp_path, "--shrink-before-evicting") as second:
        await until(second.caller.ready, "the extender to be ready")
        (lowered,) = (name for name in uids if before[name] < HALF)
        await in_force(api, lowered)
        freed = await urgent(api, HALF - before[lowered], "as-large-as-what-is-free")
        await until(functools.partial(fits, second.caller, freed), "the lower limits to be seen")
        await offer(api, second.caller, [uids[name] for name in uids if name != lowered])

        async def spared() -> bool:
            assert await second.caller.preempt(pod, victims(uids, "a", "b")) == {}
            return all(memory_of(api, name) < HALF for name in uids)

        await until(spared, "the other to be lowered too")
        assert sum(memory_of(api, name) for name in uids) == GPU - 18_000, "no more than is needed"
        for name in uids:
            record = lowering.record(api.pod(name)["metadata"]["annotations"])
            assert record is not None
            assert record.before is None
        await in_force(api, next(name for name in uids if name != lowered))
        await until(functools.partial(fits, second.caller, pod), "room for the pod")
        assert await second.caller.bind(pod, "n1") == ""


async def test_a_pod_whose_limits_change_meanwhile_is_read_again(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, shrink_before_evicting=True) as caller:
        uids = await halves(api, caller, "a", "b")
        own = json.dumps({"main": {"memory": HALF - 1000}})
        for name in uids:
            await api.change(
                "pods", f"default/{name}", lambda pod: pod["metadata"]["annotations"].update({LIMITS: own})
            )
        pod = await urgent(api, 8192)
        assert await caller.preempt(pod, victims(uids, "a")) == {}
        await until(lambda: api.said, "limits to be lowered")
        (name,) = (name for name in uids if memory_of(api, name) < HALF - 1000)
        record = lowering.record(api.pod(name)["metadata"]["annotations"])
        assert record is not None
        assert record.before == own


def _limit(text: str, pod: Json) -> None:
    pod["metadata"]["annotations"][LIMITS] = text


async def test_of_several_nodes_the_one_with_the_least_harm(api: ApiServer, tmp_path: Path) -> None:
    for node in ("n1", "n2"):
        await api.add_node(node, inventory(node, 1))
    async with extender.inside(api, tmp_path, shrink_before_evicting=True) as caller:
        uids = {}
        for node, count in (("n2", 2), ("n1", 1)):
            for number in range(count):
                pod = await api.add_pod(f"{node}-{number}", asking(memory=GPU // count), priority=1)
                assert await caller.bind(pod, node) == ""
                uids[f"{node}-{number}"] = pod["metadata"]["uid"]
        await caller.until(names.METRIC_SCHEDULER_ASSUMED, 0)
        await offer(api, caller, [uids["n1-0"]], GPU)
        two = [
            Lowerable(uids[f"n2-{at}"], "main", (GpuUuid("GPU-n2-0"),), Amounts(MiB(HALF)), Amounts(MiB(HALF // 2)))
            for at in range(2)
        ]
        node_gpus = gpus.load(api.objects["nodes"]["n2"]["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
        text = lowering.dump(two, node_gpus)
        await api.change(
            "nodes", "n2", lambda node: node["metadata"]["annotations"].update({names.ANNOTATION_LOWERABLE: text})
        )
        await shown(api, caller)
        pod = await urgent(api, HALF)
        offered = {
            "n2": {"Pods": [{"UID": uids["n2-0"]}], "NumPDBViolations": 0},
            "n1": {"Pods": [{"UID": uids["n1-0"]}], "NumPDBViolations": 0},
        }
        assert await caller.preempt(pod, offered) == {}
        await until(lambda: api.said, "limits to be lowered")
        assert (memory_of(api, "n1-0"), memory_of(api, "n2-0"), memory_of(api, "n2-1")) == (HALF, HALF, HALF)
