"""The service over real sockets: TLS, reviews, health, metrics, SIGTERM."""

import asyncio
import base64
import json
import os
import signal
from typing import Any

import aiohttp
import pytest

from tests.integration.webhook.conftest import Service, review
from unigpu import names


def pod(**limits: str) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}}


async def test_a_pod_is_translated_over_tls(service: Service, caller: Any) -> None:
    status, text = await caller.post(service.port, "/mutate", review(pod(**{"aliyun.com/gpu-mem": "3"})))
    response = json.loads(text)["response"]
    assert status == 200
    assert response["allowed"] and response["uid"] == "u-1"
    paths = [operation["path"] for operation in json.loads(base64.b64decode(response["patch"]))]
    assert "/spec/containers/0/resources/limits/unigpu.dev~1vgpu" in paths


async def test_a_refusal_names_field_and_value(service: Service, caller: Any) -> None:
    _, text = await caller.post(service.port, "/mutate", review(pod(**{"tencent.com/vcuda-core": "150"})))
    response = json.loads(text)["response"]
    assert not response["allowed"]
    assert "tencent.com/vcuda-core = 150" in response["status"]["message"]


async def test_readiness_follows_the_certificate(service: Service) -> None:
    assert await service.get("/readyz") == (200, "ok\n")
    assert await service.get("/healthz") == (200, "ok\n")


async def test_metrics_count_decisions_by_dialect_and_outcome(service: Service, caller: Any) -> None:
    await caller.post(service.port, "/mutate", review(pod(**{"tencent.com/vcuda-core": "150"})))
    await caller.post(service.port, "/mutate", b"{")
    _, text = await service.get("/metrics")
    labels = 'dialect="tencent",outcome="refused",path="mutate"'
    assert f"{names.METRIC_WEBHOOK_REVIEWS}{{{labels}}} 1.0" in text
    assert 'dialect="none",outcome="malformed",path="mutate"} 1.0' in text
    assert f"{names.METRIC_WEBHOOK_EXPIRY} 1." in text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000, 400),
        (b"9" * 10_000, 400),
        (b"null", 400),
        (review({"spec": []}), 400),
        (review({"spec": {"containers": "x"}}), 400),
        (b"\x1f\x8b" + bytes(50), 400),
        (b" " * (9 * 1024 * 1024), 413),
    ],
    ids=lambda value: str(value[:12]) if isinstance(value, bytes) else str(value),
)
async def test_what_is_not_a_review_is_refused_cleanly(service: Service, caller: Any, body: bytes, status: int) -> None:
    assert (await caller.post(service.port, "/mutate", body))[0] == status
    assert (await caller.post(service.port, "/validate", body, "validating"))[0] == status


async def test_a_namespaces_rules_are_followed_as_they_change(service: Service, apiserver: Any, caller: Any) -> None:
    content = review(pod(**{"aliyun.com/gpu-mem": "3"}), namespace="team")

    async def allowed() -> bool:
        _, text = await caller.post(service.port, "/mutate", content)
        return bool(json.loads(text)["response"]["allowed"])

    assert await allowed()
    annotations = {names.ANNOTATION_MAX_MEMORY: "1024"}
    await apiserver.change("/api/v1/namespaces/team", {"metadata": {"name": "team", "annotations": annotations}})
    async with asyncio.timeout(10):
        while await allowed():
            continue
    await apiserver.change("/api/v1/namespaces/team", {"metadata": {"name": "team"}})
    async with asyncio.timeout(10):
        while not await allowed():
            continue


@pytest.mark.parametrize("drain_seconds", [2.0])
async def test_sigterm_drains(service: Service, caller: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    status, _ = await caller.post(service.port, "/mutate", review(pod()))
    assert status == 200
    await service.task
    with pytest.raises(aiohttp.ClientConnectorError):
        await caller.post(service.port, "/mutate", review(pod()))
