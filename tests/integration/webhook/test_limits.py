"""Limits that change, against an API server that knows nodes and pods."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.webhook.conftest import Service, review
from unigpu import allocations, errors, gpus, names, requests
from unigpu.allocations import Allocation, GpuUsage, Share
from unigpu.gpus import Gpu
from unigpu.ledger import Booking
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent
from unigpu_kube import client
from webhook.limits.limit_change import AcceptedChange
from webhook.limits.node_usage import HOLD_SECONDS, NodeUsage

GPU = Gpu(GpuUuid("GPU-a"), 0, 0, "X", MiB(16384))
Json = dict[str, Any]


def pod(name: str, memory: int, node: str = "n", phase: str = "Running") -> Json:
    wish = PodRequest({"main": Request(gpus=1, memory=MiB(memory))})
    chosen = Allocation(node, {"main": (Share(GPU.uuid, MiB(memory), Percent(0)),)})
    annotations = {
        names.ANNOTATION_REQUEST: requests.dump(wish),
        names.ANNOTATION_ALLOCATION: allocations.dump(chosen),
    }
    return {
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "annotations": annotations},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {"phase": phase},
    }


@pytest.fixture
def cluster(apiserver: Any) -> Any:
    """A node with one GPU of 16 GiB, and on it 4 GiB to `mine` and 8 GiB to `other`."""
    inventory = {names.ANNOTATION_INVENTORY: gpus.dump([GPU])}
    apiserver.put("/api/v1/nodes/n", {"metadata": {"name": "n", "annotations": inventory}})
    others = [pod("other", 8192), pod("ended", 8192, phase="Succeeded"), pod("elsewhere", 8192, node="m")]
    for item in [pod("mine", 4096), *others]:
        put(apiserver, item)
    return apiserver


def put(apiserver: Any, item: Json) -> None:
    """Store a pod where it is listed, and where it is read by itself."""
    name = item["metadata"]["name"]
    apiserver.put(f"/api/v1/pods/{name}", item)
    apiserver.put(f"/api/v1/namespaces/team/pods/{name}", item)


async def change(caller: Any, port: int, name: str, memory: str, start: int = 4096, **fields: Any) -> Json:
    """The answer to a change of the pod's limits, which is not written."""
    old = pod(name, start)
    new = copy.deepcopy(old)
    new["metadata"]["annotations"][names.ANNOTATION_LIMITS] = f"memory={memory}"
    body = review(new, operation="UPDATE", oldObject=old, userInfo={"username": "ann"}, name=name, **fields)
    status, text = await caller.post(port, "/validate", body, "validating")
    assert status == 200, text
    response: Json = json.loads(text)["response"]
    return response


async def test_a_raise_is_checked_against_the_pods_of_the_node(service: Service, cluster: Any, caller: Any) -> None:
    assert (await change(caller, service.port, "mine", "8Gi"))["allowed"]
    refused = await change(caller, service.port, "mine", "8193")
    assert not refused["allowed"]
    assert refused["status"]["message"] == (
        "container main: memory = 8193 MiB: GPU 0 (GPU-a) of node n has 8192 MiB free for this container "
        "(others have 8192 of 16384 MiB); accepted: up to 8192 MiB"
    )


async def test_two_raises_at_once_do_not_get_the_same_room(service: Service, cluster: Any, caller: Any) -> None:
    asked = [("mine", 4096), ("other", 8192)]
    answers = await asyncio.gather(
        *(change(caller, service.port, name, f"{start + 4096}", start) for name, start in asked)
    )
    assert sorted(answer["allowed"] for answer in answers) == [False, True]
    (refused,) = [answer for answer in answers if not answer["allowed"]]
    assert "free for this container" in refused["status"]["message"]


async def test_what_was_only_tried_takes_nothing(service: Service, cluster: Any, caller: Any) -> None:
    assert (await change(caller, service.port, "mine", "8Gi", dryRun=True))["allowed"]
    assert (await change(caller, service.port, "other", "12Gi", 8192))["allowed"]


@pytest.mark.parametrize("forged", ["uid", "name", "namespace", "limits", "allocation"])
async def test_a_review_that_isnt_the_api_servers(service: Service, cluster: Any, caller: Any, forged: str) -> None:
    """It books nothing, and its answer says nothing of the GPU."""
    old = pod("mine", 4096)
    metadata = old["metadata"]
    if forged == "limits":
        metadata["annotations"][names.ANNOTATION_LIMITS_APPLIED] = '{"main":{"memory":8000}}'
    elif forged == "allocation":
        chosen = Allocation("n", {"main": (Share(GPU.uuid, MiB(4000), Percent(0)),)})
        metadata["annotations"][names.ANNOTATION_ALLOCATION] = allocations.dump(chosen)
    else:
        metadata[forged] = "../other" if forged == "name" else "another"
    new = copy.deepcopy(old)
    for memory in ("16Gi", "8Gi"):
        new["metadata"]["annotations"][names.ANNOTATION_LIMITS] = f"memory={memory}"
        body = review(new, operation="UPDATE", oldObject=old, userInfo={"username": "ann"}, name="mine")
        _, text = await caller.post(service.port, "/validate", body, "validating")
        response = json.loads(text)["response"]
        assert (response["allowed"], response["status"]["code"]) == (False, 409)
        assert response["status"]["message"] == (
            f"pod: annotation unigpu.dev/limits = memory={memory}: the pod has changed since, or the review isn't the "
            "API server's; accepted: the same change of the pod as it is now"
        )
    assert (await change(caller, service.port, "other", "12Gi", 8192))["allowed"], "nothing was booked"


async def test_a_lowered_limit_takes_the_place_of_a_raise(service: Service, cluster: Any, caller: Any) -> None:
    assert (await change(caller, service.port, "mine", "8Gi"))["allowed"]
    assert not (await change(caller, service.port, "other", "12Gi", 8192))["allowed"]
    assert (await change(caller, service.port, "mine", "1Gi", dryRun=True))["allowed"]
    assert not (await change(caller, service.port, "other", "12Gi", 8192))["allowed"]
    assert (await change(caller, service.port, "mine", "1Gi"))["allowed"]
    assert (await change(caller, service.port, "other", "12Gi", 8192))["allowed"]


async def test_an_api_server_that_does_not_answer(service: Service, cluster: Any, caller: Any) -> None:
    cluster.available = False
    refused = await change(caller, service.port, "mine", "5Gi")
    assert (refused["allowed"], refused["status"]["code"]) == (False, 503)
    assert refused["status"]["message"].startswith(
        "pod: annotation unigpu.dev/limits = memory=5Gi: a raise can't be checked against the node's GPUs now ("
    )
    assert (await change(caller, service.port, "mine", "1Gi"))["allowed"], "a lowering needs no look"
    cluster.available = True
    assert (await change(caller, service.port, "mine", "5Gi"))["allowed"]


async def test_the_log_says_what_changed(service: Service, cluster: Any, caller: Any, caplog: Any) -> None:
    with caplog.at_level("INFO", logger="webhook.admission.server"):
        await change(caller, service.port, "mine", "8Gi")
    (said,) = [vars(record)["unigpu_fields"] for record in caplog.records if record.getMessage() == "reviewed"]
    assert (said["outcome"], said["user"], said["pod"]) == ("limited", "ann", "mine")
    assert said["reason"] == "as requested → memory=8Gi"


@pytest.fixture
async def api(cluster: Any, kubeconfig: str) -> AsyncIterator[client.Client]:
    async with client.connect(kubeconfig) as connection:
        yield connection


async def test_an_api_server_that_hangs_and_who_waits_behind_it(cluster: Any, api: client.Client) -> None:
    cluster.answering.clear()
    node_usage = NodeUsage(api, seconds=0.05)

    async def ask() -> None:
        async with node_usage.of("n"):
            raise AssertionError("it didn't answer")

    for answer in await asyncio.gather(ask(), ask(), return_exceptions=True):
        assert isinstance(answer, errors.Unavailable)
        assert str(answer) == "the API server didn't list the pods of node n within 0.05 s"
    cluster.answering.set()


async def test_an_api_server_that_hangs_before_it_shows_the_pod(cluster: Any, api: client.Client) -> None:
    cluster.answering.clear()
    with pytest.raises(errors.Unavailable, match=r"didn't show pod team/mine within 0\.05 s"):
        await NodeUsage(api, seconds=0.05).shows(pod("mine", 4096))
    cluster.answering.set()


async def test_a_raise_that_never_comes_true_is_forgotten(cluster: Any, api: client.Client) -> None:
    now = [0.0]
    node_usage = NodeUsage(api, clock=lambda: now[0])
    node_usage.remember(
        AcceptedChange("uid-mine", "memory=8Gi", Booking("team/mine", "n", {GPU.uuid: GpuUsage(MiB(8192), 0, 1)}))
    )
    for moment, taken in ((0.0, 16384), (HOLD_SECONDS - 1, 16384), (HOLD_SECONDS, 12288)):
        now[0] = moment
        async with node_usage.of("n") as books:
            node = books.node("n")
            assert node is not None
            assert node.gpus[0].taken.memory == taken
