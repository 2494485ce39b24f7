"""Questions to the kubelet's pod-resources API."""

import asyncio
from pathlib import Path

import pytest

from deviceplugin.kubelet.pod_resources import PodResources
from tests.integration.deviceplugin.conftest import make_pod, one, until
from tests.integration.deviceplugin.fake_kubelet import FakeKubelet
from unigpu import errors, names


async def test_who_waits_together_asks_together(short_path: Path) -> None:
    kubelet = FakeKubelet(short_path)
    await kubelet.start()
    client = PodResources(kubelet.pod_resources)
    try:
        kubelet.answering.clear()
        early = asyncio.create_task(client.holders())
        await until(lambda: kubelet.lists == 1, "the first has asked")
        late = [asyncio.create_task(client.holders()) for _ in range(100)]
        await asyncio.sleep(0)
        # Allocated after the first question was put: those that came later must learn of it.
        pod = make_pod("pod", {"main": one(0, 100)})
        kubelet.resource = names.RESOURCE_VGPU
        kubelet.pods["uid"] = pod
        kubelet.allocated["uid", "main"] = ["slot-0001"]
        kubelet.answering.set()
        await early
        answers = await asyncio.gather(*late)
        assert {(holder.pod, holder.container) for answer in answers for holder in answer} == {("pod", "main")}
        assert all(len(answer) == 1 for answer in answers)
        assert kubelet.lists == 2
    finally:
        await client.aclose()
        await kubelet.stop()


async def test_kubelet_restarts_between(short_path: Path) -> None:
    kubelet = FakeKubelet(short_path)
    await kubelet.start()
    client = PodResources(kubelet.pod_resources)
    try:
        for _ in range(3):
            assert await client.holders() == []
            await kubelet.stop()
            await kubelet.start()
    finally:
        await client.aclose()
        await kubelet.stop()


async def test_connection_breaks_under_a_question(short_path: Path) -> None:
    kubelet = FakeKubelet(short_path)
    await kubelet.start()
    client = PodResources(kubelet.pod_resources)
    try:
        kubelet.breaking = 2
        assert await client.holders() == []
        assert kubelet.lists == 3
    finally:
        await client.aclose()
        await kubelet.stop()


async def test_no_kubelet(short_path: Path) -> None:
    client = PodResources(short_path / "kubelet.sock", timeout=0.2)
    try:
        with pytest.raises(errors.Unavailable, match="pod-resources"):
            await client.holders()
    finally:
        await client.aclose()
