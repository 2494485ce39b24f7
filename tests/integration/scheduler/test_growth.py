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
        await until(lambda: api.nominated[1:2] == [("most", None)], "it to be taken back")
        await until(lambda: api.nominated[-1][1] is None and len(api.nominated) >= 4, "another round")
        assert [api.pod(name)["status"].get("nominatedNodeName") for name in ("less", "most")] == [None, None]


async def test_an_older_kube_scheduler_would_not_notice(api: ApiServer, tmp_path: Path) -> None:
    await api.add_node("n1", inventory("n1", 1))
    await waiting(api, "one", 1)
    async with running(api, tmp_path, "v1.32.9") as caller:
        await grow(api, "n1", 100)
        await api.add_node("n2", inventory("n2", 1))
        await caller.until(names.METRIC_SCHEDULER_NODES, 2)
        assert api.nominated == []
