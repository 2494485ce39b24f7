"""Pods that slipped past admission are found and reported, once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from unigpu import errors, names
from unigpu_kube import client
from webhook.admission.skipped_pods import SkippedPods
from webhook.translation.options import Options


def pod(name: str, namespace: str = "team", limits: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "annotations": annotations},
        "spec": {"containers": [{"name": "c", "resources": {"limits": limits or {}}}]},
    }


@pytest.fixture
async def search(apiserver: Any, kubeconfig: str) -> AsyncIterator[SkippedPods]:
    async with client.connect(kubeconfig) as api:
        yield SkippedPods(api, lambda _: Options(), ("kube-system",), "replica")


def put(apiserver: Any, *items: dict[str, Any]) -> None:
    for item in items:
        apiserver.put(f"/api/v1/pods/{item['metadata']['name']}", item)


def events(apiserver: Any) -> list[dict[str, Any]]:
    return [item for path, item in apiserver.objects.items() if "/events/" in path]


async def test_who_slipped_past_is_reported_once(apiserver: Any, search: SkippedPods) -> None:
    put(
        apiserver,
        pod("slipped", limits={"aliyun.com/gpu-mem": "3"}),
        pod("by-annotation", "team", None, **{"gpu-fraction": "0.5"}),
        pod("translated", limits={names.RESOURCE_VGPU: "1"}, **{names.ANNOTATION_REQUEST: "{}"}),
        pod("without", limits={"cpu": "1"}),
        pod("excluded", "kube-system", limits={"aliyun.com/gpu-mem": "3"}),
    )
    assert await search.search() == 2
    assert await search.search() == 2
    reported = events(apiserver)
    assert sorted(item["involvedObject"]["name"] for item in reported) == ["by-annotation", "slipped"]
    assert all(item["reason"] == names.EVENT_ADMISSION_SKIPPED and item["type"] == "Warning" for item in reported)
    assert "aliyun.com/gpu-mem" in next(item["message"] for item in reported if "mem" in item["message"])


async def test_an_api_server_that_doesnt_answer_is_unavailable(apiserver: Any, search: SkippedPods) -> None:
    apiserver.available = False
    with pytest.raises(errors.Unavailable):
        await search.search()
