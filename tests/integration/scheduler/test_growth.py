"""Pods that wait are tried again when a node grows. The kube-scheduler's side is in tests/fleet/test_nodes_join.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scheduler import growth
from tests.integration.scheduler import extender
from tests.integration.scheduler.apiserver import ApiServer, Json
from tests.integration.scheduler.extender import Caller, asking, inventory, until
from unigpu import names


@asynccontextmanager
async def running(api: ApiServer, folder: Path, version: str = "v1.36.3") -> AsyncIterator[Caller]:
    async with extender.inside(api, folder, kube_scheduler_version=version) as caller:
        yield caller


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SETTLE", 0.1)
    monkeypatch.setattr(growth, "AGAIN", 0.1)


async def grow(api: ApiServer, node: str, memory: int) -> None:
    amounts = {names.RESOURCE_MEMORY: str(memory)}

    def write(document: Json) -> None:
        document["status"] = {"capacity": amounts, "allocatable": amounts}

    await api.change("nodes", node, write)


async def waiting(api: ApiServer, name: str, priority: int) -> Json:
    return await api.add_pod(name, asking(memory=8192), priority=priority)


async def test_the_most_important_pod_that_waits_stands_for_all(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await waiting(api, "less", 1)
    await waiting(api, "most", 7)
    evicts = await waiting(api, "evicts", 9)
    evicts["status"]["nominatedNodeName"] = "n1"
    async with running(api, tmp_path):
        await grow(api, "n1", 100)
        await until(lambda: api.nominated == [("most", "n1"), ("most", None)], "one round")
        assert api.pod("most")["status"]["nominatedNodeName"] is None
        await grow(api, "n1", 50)
        await api.add_node("n2", inventory("n2", 1))
        await grow(api, "n2", 100)
        await until(lambda: api.nominated[2:] == [("most", "n2"), ("most", None)], "another, of the node that grew")


async def test_a_pod_that_is_gone_or_bound_meanwhile_stands_for_none(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    for name, priority in (("less", 1), ("bound", 7), ("gone", 8)):
        await waiting(api, name, priority)
    async with running(api, tmp_path):
        api.show_events.clear()  # the extender doesn't know yet
        await grow(api, "n1", 100)
        await api.change("pods", "default/bound", lambda pod: pod["spec"].update(nodeName="n9"))
        await api.remove("pods", "default/gone")
        api.show_events.set()
        await until(lambda: api.nominated == [("less", "n1"), ("less", None)], "one round")


async def test_asked_again_where_the_api_server_refuses(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await waiting(api, "one", 1)
    async with running(api, tmp_path):
        api.annotating = 0
        await grow(api, "n1", 100)
        await until(lambda: api.refused, "a refusal")
        api.annotating = None
        await until(lambda: api.nominated == [("one", "n1"), ("one", None)], "one round")


async def test_a_nomination_that_could_not_be_taken_back_does_not_stay(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    for name, priority in (("less", 1), ("most", 7)):
        await waiting(api, name, priority)
    async with running(api, tmp_path):
        api.annotating = 1
        await grow(api, "n1", 100)
        await until(lambda: api.refused, "a refusal")
        assert api.nominated == [("most", "n1")]
        api.annotating = None
        # Whether the other pod is refused too, or nominated before that is taken back, is a matter of moments.
        await until(lambda: ("most", None) in api.nominated, "it to be taken back")
        await until(lambda: len(api.nominated) >= 4 and api.nominated[-1][1] is None, "another round")
        assert [api.pod(name)["status"].get("nominatedNodeName") for name in ("less", "most")] == [None, None]


@pytest.mark.parametrize("status", [403, 409, 422, 500])
async def test_a_refused_pod_costs_only_itself(
    api: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    await api.add_node("n1", inventory("n1", 1))
    for name, priority in (("less", 1), ("next", 7), ("refused", 9)):
        await waiting(api, name, priority)
    api.refusing["refused"] = status
    async with running(api, tmp_path):
        await grow(api, "n1", 100)
        await until(lambda: api.nominated == [("next", "n1"), ("next", None)], "the next to stand for the others")
        await until(lambda: len(api.refusals) > 3, "the refused one to be tried again")  # a conflict thrice each time
        await grow(api, "n1", 200)
        await until(lambda: len(api.nominated) == 4, "the next to stand for the others once more")
        assert {name for name, _ in api.nominated} == {"next"}
        del api.refusing["refused"]
        await grow(api, "n1", 300)
        await until(lambda: ("refused", None) in api.nominated, "the refused one to be tried")
        said = [one for one in caplog.records if "told to refuse" in str(vars(one))]
        assert len(said) == 1, "once, however often it is refused"


async def test_a_refused_pod_is_tried_again_without_another_growth(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    for name, priority in (("less", 1), ("refused", 9)):
        await waiting(api, name, priority)
    api.refusing["refused"] = 403
    async with running(api, tmp_path):
        await grow(api, "n1", 100)
        await until(lambda: ("less", None) in api.nominated, "the other to be tried")
        await until(lambda: len(api.refusals) > 1, "the refused one to be tried again")
        api.refusing.clear()
        await until(lambda: ("refused", None) in api.nominated, "the refused one to be tried")
        assert len(api.nominated) == 4, "and the other not once more"


async def test_a_pod_that_is_refused_for_good_is_left_alone(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LONGER", 1)
    await api.add_node("n1", inventory("n1", 1))
    await waiting(api, "refused", 9)
    api.refusing["refused"] = 403
    async with running(api, tmp_path):
        await grow(api, "n1", 100)
        await until(lambda: len(api.refusals) == growth.TRIES, "all tries")
        await waiting(api, "other", 1)
        await grow(api, "n1", 200)
        await until(lambda: ("other", None) in api.nominated, "another round")
        assert len(api.refusals) <= growth.TRIES + 1


async def test_where_all_are_refused_they_are_not_tried_all_at_once(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "MOST_REFUSED", 3)
    monkeypatch.setattr(growth, "LONGER", 1000)
    await api.add_node("n1", inventory("n1", 1))
    for number in range(7):
        name = f"p{number}"
        await waiting(api, name, 9 - number)
        api.refusing[name] = 403
    async with running(api, tmp_path):
        await grow(api, "n1", 100)
        await until(lambda: set(api.refusals) == {f"p{number}" for number in range(7)}, "each to be tried")
        assert api.refusals[:3] == ["p0", "p1", "p2"]
        await waiting(api, "last", 0)
        await grow(api, "n1", 200)
        await until(lambda: api.nominated == [("last", "n1"), ("last", None)], "the one that isn't refused")


async def test_a_nomination_that_cannot_be_taken_back_costs_only_its_pod(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    for name, priority in (("less", 1), ("stuck", 7)):
        await waiting(api, name, priority)
    async with running(api, tmp_path):
        api.annotating = 1
        await grow(api, "n1", 100)
        await until(lambda: api.refused, "a refusal")
        api.refusing["stuck"], api.annotating = 403, None
        await grow(api, "n1", 200)
        await until(lambda: ("less", None) in api.nominated, "the other to be tried")
        await until(lambda: len(api.refusals) > 1, "more refusals")
        api.refusing.clear()
        await until(lambda: api.pod("stuck")["status"].get("nominatedNodeName") is None, "it to be taken back")


async def test_an_older_kube_scheduler_would_not_notice(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await waiting(api, "one", 1)
    async with running(api, tmp_path, "v1.32.9") as caller:
        await grow(api, "n1", 100)
        await api.add_node("n2", inventory("n2", 1))
        await caller.until(names.METRIC_SCHEDULER_NODES, 2)
        assert api.nominated == []
