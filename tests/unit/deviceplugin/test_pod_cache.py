"""The owner of the node's pods."""

from typing import Any

from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod, Progress


def pod(uid: str = "u", **fields: Any) -> Pod:
    return Pod("default", "p", uid, **fields)


def watched(cache: PodCache) -> tuple[list[str], list[str]]:
    changed: list[str] = []
    gone: list[str] = []
    cache.subscribe(changed.append, gone.append)
    return changed, gone


def test_newest_version_stays() -> None:
    cache = PodCache()
    assert cache.observe(pod(version=5))
    assert not cache.observe(pod(version=4))
    assert cache.observe(pod(version=5, finished=True))
    assert cache.get("u") == pod(version=5, finished=True)
    assert cache.get(None) is None


def test_subscribers_learn_of_annotations_and_of_the_end() -> None:
    cache = PodCache()
    changed, gone = watched(cache)
    cache.observe(pod(version=1))
    cache.observe(pod(version=2))
    cache.observe(pod(version=3, annotations={"a": "b"}))
    assert changed == ["u", "u"]
    cache.replace([pod("other")])
    assert (changed, gone, set(cache.uids())) == (["u", "u", "other"], ["u"], {"other"})


def test_lost_sandbox_is_remembered_when_the_status_forgets_it() -> None:
    cache = PodCache()
    cache.observe(pod(sandbox_lost=7.0, progress={"main": Progress(running_since=1.0)}))
    assert cache.with_sandbox(pod()).sandbox_lost == 7.0
    cache.replace([pod(version=1)])
    assert cache.with_sandbox(pod()).sandbox_lost == 7.0
    cache.forget("u")
    assert cache.with_sandbox(pod()).sandbox_lost is None
