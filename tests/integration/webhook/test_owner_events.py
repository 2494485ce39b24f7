"""Warnings about the pods of a controller, which kubectl can't show, become events on the controller."""

import asyncio
from typing import Any

from tests.integration.webhook.conftest import Service, review
from unigpu import names

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d9f", "uid": "u-web", "controller": True}
MISSPELT = {"nvidia.com/gpumemory": "1"}


def pod(owner: dict[str, Any] | None, limits: dict[str, str]) -> dict[str, Any]:
    metadata = {"generateName": "web-", "namespace": "team"} | ({"ownerReferences": [owner]} if owner else {})
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}}


def exists(apiserver: Any, owner: dict[str, Any], namespace: str = "team") -> None:
    stored = pod(owner, {})
    stored["metadata"] |= {"name": "web-5d9f-x", "uid": "u-pod"}
    apiserver.put(f"/api/v1/namespaces/{namespace}/pods/web-5d9f-x", stored)


def events(apiserver: Any) -> list[dict[str, Any]]:
    return [item for path, item in apiserver.objects.items() if "/events/" in path]


async def admit(caller: Any, service: Service, document: dict[str, Any], **fields: Any) -> None:
    status, text = await caller.post(service.port, "/mutate", review(document, namespace="team", **fields))
    assert status == 200 and "accepted: nvidia.com/gpumem" in text


async def test_a_controller_is_told_once(apiserver: Any, service: Service, caller: Any) -> None:
    exists(apiserver, OWNER)
    for _ in range(3):
        await admit(caller, service, pod(OWNER, MISSPELT))
    async with asyncio.timeout(30):
        await apiserver.until(lambda: events(apiserver))
    (event,) = events(apiserver)
    involved = event["involvedObject"]
    assert (involved["kind"], involved["name"], involved["uid"]) == ("ReplicaSet", "web-5d9f", "u-web")
    assert (event["metadata"]["namespace"], event["type"]) == ("team", "Warning")
    assert event["reason"] == names.EVENT_REQUEST_WARNING
    assert event["message"].startswith(
        "its pods: container c: nvidia.com/gpumemory = 1: unknown: the pod stays pending, unless a node offers it"
    )
    assert [write for write in apiserver.writes if "/events/" in write] == [
        f"POST /api/v1/namespaces/team/events/{event['metadata']['name']}"
    ]


async def test_nobody_else_is_told(apiserver: Any, service: Service, caller: Any) -> None:
    """Not by dry runs, not of pods that people create, and not of controllers that have no such pod."""
    exists(apiserver, OWNER)
    await admit(caller, service, pod(OWNER | {"name": "other", "uid": "u-other"}, MISSPELT))
    await admit(caller, service, pod(None, MISSPELT))
    await admit(caller, service, pod(OWNER | {"controller": False}, MISSPELT))
    await admit(caller, service, pod(OWNER | {"name": "forged"}, MISSPELT))
    await admit(caller, service, pod(OWNER, MISSPELT | {"nvidia.com/gpucore": "1"}), dryRun=True)
    await admit(caller, service, pod(OWNER, MISSPELT))
    async with asyncio.timeout(60):
        await apiserver.until(lambda: events(apiserver))
    assert [event["involvedObject"]["name"] for event in events(apiserver)] == ["web-5d9f"]
