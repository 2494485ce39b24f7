"""Whatever breaks, and whenever: no GPU is given twice, and nothing stays taken that isn't."""

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from scheduler import binding, staleness_guard
from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer
from tests.integration.scheduler.extender import asking, bound_elsewhere, inventory, until
from unigpu import names

PODS = names.METRIC_SCHEDULER_PODS
ASSUMED = names.METRIC_SCHEDULER_ASSUMED
OVERBOOKED = names.METRIC_SCHEDULER_OVERBOOKED


def another_may_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the extender count with another one as soon as it has sent something."""
    monkeypatch.setattr(staleness_guard.StalenessGuard, "uninterrupted", lambda *_: False)


async def test_a_binding_whose_answer_is_lost_after_the_write_counts(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        api.show_events.clear()
        pod = await api.add_pod("p", asking(memory=20000))
        other = await api.add_pod("other", asking(memory=20000))
        api.lose_after = 1
        assert "doesn't answer" in await caller.bind(pod, "n1")
        assert (await caller.filter(other, ["n1"]))["NodeNames"] == []
        await until(lambda: len(api.bindings) == 2, "the binding to be sent again")
        await until_settled(caller, pod)
        assert await caller.bind(pod, "n1") == "", "bound already"
        assert (await caller.filter(other, ["n1"]))["NodeNames"] == []
        assert len(api.bindings) == 2
        api.show_events.set()
        await caller.until(ASSUMED, 0)
        assert await caller.metric(PODS) == 1


async def test_a_binding_whose_answer_is_lost_before_the_write_is_sent_again(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p", asking(memory=20000))
        api.lose_before = 3
        assert "doesn't answer" in await caller.bind(pod, "n1")
        asked = await caller.filter(pod, ["n1"])
        assert "isn't known yet" in asked["Error"]
        assert "isn't known yet" in await caller.bind(pod, "n1")
        await until(lambda: "nodeName" in api.pod("p")["spec"], "the pod to be bound")
        assert len(api.bindings) == 4
        assert len({json.dumps(binding, sort_keys=True) for binding in api.bindings}) == 1
        await caller.until(ASSUMED, 0)


@pytest.mark.parametrize("written", [False, True])
async def test_a_binding_is_not_sent_again_where_another_replica_may_lead(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """That one may have given the share to another pod."""
    another_may_lead(monkeypatch)
    monkeypatch.setattr(binding, "LATE", 0.5)
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p", asking(memory=20000))
        api.lose_before, api.lose_after = (0, 1) if written else (1, 0)
        assert "doesn't answer" in await caller.bind(pod, "n1")
        await caller.until(ASSUMED, 0)
        await caller.until(PODS, 1 if written else 0)
        assert len(api.bindings) == 1
        assert ("nodeName" in api.pod("p")["spec"]) == written
        other = await api.add_pod("other", asking(memory=20000))
        assert (await caller.bind(other, "n1") == "") != written


async def test_a_binding_that_waits_for_the_api_server_is_given_up_before_another_can_lead(
    api: ApiServer, tmp_path: Path
) -> None:
    """It would be carried out unseen by the other one, which may have given the share to another pod by then."""
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, api_timeout=1e6) as caller:
        pod = await api.add_pod("p", asking(memory=20000))
        api.slow = 1
        assert "doesn't answer" in await caller.bind(pod, "n1")
        api.land.set()
        await until_settled(caller, pod)
        await caller.until(ASSUMED, 0)
        assert count_bound(api) == 1


@pytest.mark.parametrize("leads", [True, False])
async def test_a_share_stays_taken_while_its_binding_may_still_be_written(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    """The API server is slow to write it. That the pod isn't bound, and that a second sending is refused, says nothing
    of the first."""
    if not leads:
        another_may_lead(monkeypatch)
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path, api_timeout=0.5) as caller:
        pod = await api.add_pod("p", asking(memory=20000))
        other = await api.add_pod("other", asking(memory=20000))
        api.slow, api.binding_status = 1, 403
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]
        assert "doesn't answer" in await caller.bind(pod, "n1")
        await until(lambda: api.reads >= 2, "the pod to be read")
        assert len(api.bindings) > 1 if leads else len(api.bindings) == 1
        assert await caller.metric(ASSUMED) == 1
        api.binding_status = None
        assert (await caller.filter(other, ["n1"]))["NodeNames"] == []
        api.land.set()
        await until_settled(caller, pod)
        await caller.until(ASSUMED, 0)
        assert (count_bound(api), await caller.metric(PODS), await caller.metric(OVERBOOKED)) == (1, 1, 0)
        assert extender.taken(api) == {"GPU-n1-0": 20000}


@pytest.mark.parametrize("end", ["is being deleted", "is gone", "another's"])
async def test_a_share_is_free_once_no_sending_can_be_written(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    another_may_lead(monkeypatch)
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        api.show_events.clear()
        pod = await api.add_pod("p", asking(memory=20000))
        api.lose_before = 1
        assert "doesn't answer" in await caller.bind(pod, "n1")
        if end == "is gone":
            await api.remove("pods", "default/p")
        elif end == "another's":
            await api.change("pods", "default/p", lambda pod: pod["spec"].update(nodeName="n2"))
        else:
            await api.change(
                "pods", "default/p", lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z")
            )
        await caller.until(PODS, 0)
        api.show_events.set()


@pytest.mark.parametrize("free", [True, False])
async def test_after_a_pause_a_binding_is_sent_again_where_its_share_is_free(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    """Without other pods the kube-scheduler asks nothing while a binding isn't answered, as if another replica led."""
    monkeypatch.setattr(staleness_guard, "IDLE", 1.0)
    monkeypatch.setattr(staleness_guard, "LANDING", 0.0)
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p", asking(memory=20000))
        api.lose_before = 1_000_000
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]
        assert "doesn't answer" in await caller.bind(pod, "n1")
        await until(lambda: api.reads, "the pod to be read, instead of the binding to be sent")
        api.lose_before, sent = 0, len(api.bindings)
        assert await caller.metric(ASSUMED) == 1
        if not free:
            await bound_elsewhere(api, "theirs", "n1", "GPU-n1-0", 20000)
        reads = api.reads

        async def asked_again() -> bool:
            assert "isn't known yet" in (await caller.filter(pod, ["n1"])).get("Error", "isn't known yet")
            return count_bound(api) == 1 if free else api.reads >= reads + 2

        await until(asked_again, "the binding to be sent again, or the pod to be read")
        assert len(api.bindings) == sent + (1 if free else 0)
        assert ("nodeName" in api.pod("p")["spec"]) == free


async def test_a_pod_that_vanishes_while_its_binding_is_unknown_gives_its_share_back(
    api: ApiServer, tmp_path: Path
) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        api.show_events.clear()
        pod = await api.add_pod("p", asking(memory=20000))
        api.lose_before = 1
        assert "doesn't answer" in await caller.bind(pod, "n1")
        await api.remove("pods", "default/p")
        await caller.until(PODS, 0)
        api.show_events.set()


async def test_a_refused_binding_gives_its_share_back(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        pod = await api.add_pod("p", asking(memory=20000))
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]
        await api.remove("pods", "default/p")
        namesake = await api.add_pod("p", asking(memory=1000))
        assert "409" in await caller.bind(pod, "n1")
        assert await caller.metric(PODS) == 0
        assert "nodeName" not in api.pod("p")["spec"], "a namesake is another pod"
        assert await caller.bind(namesake, "n1") == ""


async def test_a_watch_that_breaks_goes_on_where_it_was(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    async with extender.inside(api, tmp_path) as caller:
        await until(lambda: api.watches == 3, "all watches")
        lists = api.lists
        for number in range(5):
            watches = api.watches
            await api.break_watches()
            await bound_elsewhere(api, f"p{number}", "n1", "GPU-n1-0", 1000)
            await caller.until(PODS, number + 1)
            await until(lambda seen=watches: api.watches >= seen + 3, "all watches again")
        assert api.lists == lists


async def test_an_expired_watch_lists_again(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    async with extender.inside(api, tmp_path) as caller:
        for number in range(3):
            await bound_elsewhere(api, f"p{number}", "n1", "GPU-n1-0", 1000)
        await caller.until(PODS, 3)
        api.show_events.clear()
        assumed = await api.add_pod("assumed", asking(memory=1000))
        assert await caller.bind(assumed, "n1") == ""
        vanishing = await api.add_pod("vanishing", asking(memory=1000))
        assert await caller.bind(vanishing, "n1") == ""
        assert await caller.metric(ASSUMED) == 2
        await api.remove("pods", "default/p0")
        await api.remove("pods", "default/vanishing")
        await api.change("nodes", "n1", lambda node: node["metadata"]["annotations"].update(inventory("n1", 1)))
        await api.compact()
        await api.break_watches()
        api.show_events.set()
        await caller.until(names.METRIC_SCHEDULER_GPUS, 1)
        await caller.until(PODS, 3)
        await caller.until(ASSUMED, 0)


async def test_what_another_replica_bound_is_read_before_the_first_binding(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 2))
    async with extender.inside(api, tmp_path) as caller:
        await until(lambda: api.watches == 3, "all watches")
        api.show_events.clear()
        await bound_elsewhere(api, "theirs", "n1", "GPU-n1-0", 24576)
        pod = await api.add_pod("ours", asking(memory=20000))
        assert await caller.bind(pod, "n1") == ""
        given = extender.allocation(api.pod("ours"))
        assert given is not None
        assert given.containers["main"][0].gpu == "GPU-n1-1"
        api.show_events.set()


async def test_nothing_is_answered_before_everything_is_listed(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    pod = await api.add_pod("p", asking(memory=1000))
    api.status = 503
    async with extender.outside(api, tmp_path) as process:
        caller = process.caller
        assert (await caller.get("/healthz"))[0] == 200
        assert (await caller.get("/readyz"))[0] == 503
        assert "not listed" in (await caller.filter(pod, ["n1"]))["Error"]
        assert "not listed" in await caller.bind(pod, "n1")
        api.status = 403
        await until(lambda: any("403" in str(line.get("reason")) for line in process.lines), "the refusal to be logged")
        api.status = None
        await until(caller.ready, "the extender to be ready")
        assert (await caller.filter(pod, ["n1"]))["NodeNames"] == ["n1"]
        process.process.send_signal(signal.SIGTERM)
        assert await process.process.wait() == 0


async def test_killed_amid_bindings_and_started_again_nothing_is_given_twice(api: ApiServer, tmp_path: Path) -> None:
    nodes = ["n1", "n2"]
    for name in nodes:
        await api.add_node(name, inventory(name, 2))
    pods = [await api.add_pod(f"p{number}", asking(memory=3500 if number % 2 else 2500)) for number in range(24)]
    for written in (1, 5, 12):
        async with extender.outside(api, tmp_path) as process:
            await until(process.caller.ready, "the extender to be ready")
            api.hold_answers.clear()
            await api.allow(written)
            bound = count_bound(api)
            binds = [asyncio.create_task(place(process.caller, api, pod, nodes)) for pod in pods]
            await until(lambda expected=bound + written: count_bound(api) == expected, "bindings to be written")
            await process.kill()
            await asyncio.gather(*binds, return_exceptions=True)
            await api.allow(None)
            api.hold_answers.set()
    async with extender.outside(api, tmp_path) as process:
        await until(process.caller.ready, "the extender to be ready")
        for pod in pods:
            await place(process.caller, api, pod, nodes)
        assert await process.caller.metric(OVERBOOKED) == 0
    assert max(extender.taken(api).values()) <= extender.GPU
    assert count_bound(api) == 24
    assert all(extender.allocation(pod) for pod in api.objects["pods"].values())


async def test_overbooking_by_others_is_shown(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await bound_elsewhere(api, "one", "n1", "GPU-n1-0", 20000)
    await bound_elsewhere(api, "two", "n1", "GPU-n1-0", 20000)
    async with extender.inside(api, tmp_path) as caller:
        assert await caller.metric(OVERBOOKED) == 1


async def test_objects_that_cannot_be_read_cost_themselves_only(api: ApiServer, tmp_path: Path) -> None:
    async with extender.outside(api, tmp_path) as process:
        await until(process.caller.ready, "the extender to be ready")
        await api.add_node("bad")
        await api.change("nodes", "bad", lambda node: node["metadata"].pop("name"))
        for number, text in enumerate(("1e999", "[" * 5000, '{"version": 1, "gpus": [{"memory": 1e999}]}')):
            await api.add_node(f"strange-{number}", {names.ANNOTATION_INVENTORY: text})
            await api.add_pod(f"strange-{number}", {names.ANNOTATION_ALLOCATION: text}, nodeName="n1")
        await api.add_pod("odd", nodeName="n1", priority="high", containers=None)
        await api.add_node("n1", inventory("n1", 1))
        await process.caller.until(names.METRIC_SCHEDULER_NODES, 1)
        pod = await api.add_pod("p", asking(memory=20000))
        assert await process.caller.bind(pod, "n1") == ""


async def test_what_can_t_start_says_why(api: ApiServer, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(api.kubeconfig())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, text = await started("--kubeconfig", str(config), "--port", port)
        assert (code, f"can't listen on port {port}" in text) == (2, True), text
    code, text = await started("--kubeconfig", str(tmp_path / "missing"), "--port", "0")
    assert (code, "name a kubeconfig with --kubeconfig" in text) == (2, True), text
    code, text = await started("--shares-per-gpu", "0")
    assert (code, "0 is out of range; accepted: 1 or more" in text) == (2, True), text


async def started(*arguments: str) -> tuple[int | None, str]:
    """Exit code and messages of an extender that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler", "--metrics-port", "0", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, text = await process.communicate()
    return process.returncode, text.decode()


async def until_settled(caller: extender.Caller, pod: dict[str, Any]) -> None:
    async def settled() -> bool:
        return "Error" not in await caller.filter(pod, ["n1"])

    await until(settled, "the binding's outcome to be known")


def count_bound(api: ApiServer) -> int:
    return sum("nodeName" in pod["spec"] for pod in api.objects["pods"].values())


async def place(caller: extender.Caller, api: ApiServer, pod: dict[str, Any], nodes: list[str]) -> None:
    """What a kube-scheduler does with one pod, until it is bound."""
    while not api.pod(pod["metadata"]["name"])["spec"].get("nodeName"):
        found = await caller.filter(pod, nodes)
        for node in found.get("NodeNames", ())[:1]:
            await caller.bind(pod, node)
