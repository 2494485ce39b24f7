"""Pods that were promised a node: its room is kept for them, it is read before it is refused, and the promise stays."""

from pathlib import Path

from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer, Json
from tests.integration.scheduler.extender import asking, bound_elsewhere, inventory, until
from unigpu import names

PODS = names.METRIC_SCHEDULER_PODS


async def test_room_that_was_made_is_kept_for_whom_it_was_made(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        victim = await api.add_pod("victim", asking(memory=20000))
        assert await caller.bind(victim, "n1") == ""
        urgent = await api.add_pod("urgent", asking(memory=20000), priority=5)
        await api.change("pods", "default/urgent", lambda pod: pod["status"].update(nominatedNodeName="n1"))
        await api.remove("pods", "default/victim")
        await caller.until(PODS, 0)
        other = await api.add_pod("other", asking(memory=20000), priority=1)

        async def kept() -> bool:
            return not await _fits(caller, other)

        await until(kept, "the room to be kept")
        found = await caller.filter(other, ["n1"])
        assert "is kept for pod default/urgent" in found["FailedAndUnresolvableNodes"]["n1"]
        other["metadata"]["namespace"] = "elsewhere"
        found = await caller.filter(other, ["n1"])
        uid = urgent["metadata"]["uid"]
        assert f"is kept for pod {uid} of another namespace" in found["FailedAndUnresolvableNodes"]["n1"]
        small = await api.add_pod("small", asking(memory=1000), priority=1)
        assert (await caller.filter(small, ["n1"]))["NodeNames"] == ["n1"], "it leaves room enough"
        assert (await caller.filter(urgent, ["n1"]))["NodeNames"] == ["n1"]
        await api.remove("pods", "default/urgent")
        await until(lambda: _fits(caller, other), "nobody to wait")


async def test_a_nomination_stays_while_victims_leave(api: ApiServer, tmp_path: Path) -> None:
    """The node's totals may suffice once the first of two has left; what doesn't fit by then isn't beyond help."""
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        for name in ("first", "second"):
            victim = await api.add_pod(name, asking(memory=10000))
            assert await caller.bind(victim, "n1") == ""
        urgent = await api.add_pod("urgent", asking(memory=20000), priority=5)
        urgent["status"]["nominatedNodeName"] = "n1"
        await api.remove("pods", "default/first")
        assert (await caller.filter(urgent, ["n1"])).keys() == {"NodeNames", "FailedAndUnresolvableNodes"}
        await api.change("pods", "default/second", _evicted)
        found = await caller.filter(urgent, ["n1"])
        assert "too little free memory" in found["FailedNodes"]["n1"]
        assert not found["NodeNames"]
        assert not found["FailedAndUnresolvableNodes"]
        await api.remove("pods", "default/second")
        assert (await caller.filter(urgent, ["n1"]))["NodeNames"] == ["n1"]


def _evicted(pod: Json) -> None:
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    reason = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    pod["status"]["conditions"] = [reason]


async def _fits(caller: extender.Caller, pod: Json) -> bool:
    return bool((await caller.filter(pod, ["n1"]))["NodeNames"])


async def test_a_promised_node_is_read_before_it_is_refused(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await bound_elsewhere(api, "victim", "n1", "GPU-n1-0", 24576)
    async with extender.inside(api, tmp_path) as caller:
        await until(lambda: api.watches == 3, "all watches")
        api.show_events.clear()
        await api.remove("pods", "default/victim")
        pod = await api.add_pod("p", asking(memory=20000))
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == []
        pod["status"]["nominatedNodeName"] = "n1"
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]
        api.show_events.set()


async def test_a_promised_node_is_read_before_its_room_is_kept_for_another(api: ApiServer, tmp_path: Path) -> None:
    """Two pods wait for two victims; that the second victim is gone is known to the kube-scheduler alone."""
    await api.add_node("n1", inventory("n1", 2))
    for number in range(2):
        await bound_elsewhere(api, f"victim-{number}", "n1", f"GPU-n1-{number}", 24576)
    async with extender.inside(api, tmp_path) as caller:
        await until(lambda: api.watches == 3, "all watches")
        urgent = []
        for number in range(2):
            await api.add_pod(f"urgent-{number}", asking(memory=20000), priority=5)
            await api.change(
                "pods", f"default/urgent-{number}", lambda pod: pod["status"].update(nominatedNodeName="n1")
            )
            urgent.append(api.pod(f"urgent-{number}"))
        await api.remove("pods", "default/victim-0")
        await caller.until(PODS, 1)
        one = [await caller.filter(pod, ["n1"]) for pod in urgent]
        assert sorted(len(found["NodeNames"]) for found in one) == [0, 1], "there is room for one of them"
        api.show_events.clear()
        await api.remove("pods", "default/victim-1")
        assert [(await caller.filter(pod, ["n1"]))["NodeNames"] for pod in urgent] == [["n1"], ["n1"]]
        api.show_events.set()
