"""`kubectl unigpu drain`: who has to leave a GPU, and what is said of each."""

from typing import Any

import pytest

from cli import drain
from cli.drain import Consent, Tenant
from unigpu import allocations, budgets, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.budgets import Budget
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
OWNER = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "o", "controller": True}]
AGREED = Consent()


def pod(name: str, *gpus: GpuUuid, owned: bool = True, **more: Any) -> dict[str, Any]:
    shares = tuple(Share(gpu, MiB(1000), Percent(20)) for gpu in gpus)
    annotations = {
        names.ANNOTATION_REQUEST: requests.dump(PodRequest({"main": Request(max(1, len(gpus)), MiB(1000))})),
        names.ANNOTATION_ALLOCATION: allocations.dump(Allocation("n1", {"main": shares})),
    }
    metadata: dict[str, Any] = {"name": name, "namespace": "team", "uid": name, "annotations": annotations}
    metadata |= {"ownerReferences": OWNER} if owned else {}
    metadata |= more.pop("metadata", {})
    spec = {"nodeName": "n1", "containers": [{"name": "main"}], **more.pop("spec", {})}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running"} | more}


def budget(allowed: int, **labels: str) -> Budget:
    return budgets.load(
        {
            "metadata": {"namespace": "team", "name": "-".join(labels.values())},
            "spec": {"selector": {"matchLabels": labels}},
            "status": {"disruptionsAllowed": allowed},
        }
    )


def tenants(*found: dict[str, Any], consent: Consent = AGREED, of: tuple[Budget, ...] = ()) -> list[Tenant]:
    return drain.tenants(found, A, of, consent)[0]


def test_only_pods_with_a_share_of_the_gpu() -> None:
    ended = pod("c", A, phase="Succeeded")
    found = tenants(pod("both", A, B), pod("b", B), pod("a", A), ended, {"metadata": {"name": "x", "uid": "x"}})
    assert [tenant.ref.name for tenant in found] == ["a", "both"]
    assert drain.amounts(found[0].share) == "1000 MiB and 20 %"


def test_what_can_t_be_read_is_named() -> None:
    broken = pod("broken", A)
    broken["metadata"]["annotations"][names.ANNOTATION_ALLOCATION] = "?"
    _, unreadable = drain.tenants([broken, pod("fine", A)], A, (), AGREED)
    assert unreadable == ["team/broken"]
    assert list(drain.lines("GPU", [], unreadable))[1].startswith("  pod team/broken: its allocation can't be read")


@pytest.mark.parametrize(
    ("document", "consent", "expected"),
    [
        (pod("a", A), AGREED, "is evicted; ReplicaSet web-5d creates another"),
        (pod("a", A, owned=False), AGREED, "isn't evicted: no controller creates it again; accepted: --force"),
        (pod("a", A, owned=False), Consent(force=True), "is evicted; nothing creates another"),
        (
            pod("a", A, spec={"volumes": [{"name": "cache", "emptyDir": {}}]}),
            AGREED,
            "isn't evicted: data in its volumes cache would be lost; accepted: --delete-emptydir-data",
        ),
        (
            pod("a", A, spec={"volumes": [{"name": "cache", "emptyDir": {}}]}),
            Consent(delete_data=True),
            "is evicted; ReplicaSet web-5d creates another",
        ),
        (
            pod("a", A, spec={"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}]}),
            AGREED,
            "is evicted; ReplicaSet web-5d creates another",
        ),
        (
            pod("a", A, metadata={"deletionTimestamp": "2026-01-31T12:00:00Z"}, owned=False),
            AGREED,
            "is being deleted since 2026-01-31T12:00:00Z",
        ),
        (
            pod("a", A, metadata={"labels": {"app": "web"}}),
            AGREED,
            "is evicted as soon as disruption budget team/web allows it; ReplicaSet web-5d creates another",
        ),
    ],
)
def test_the_plan(document: dict[str, Any], consent: Consent, expected: str) -> None:
    (tenant,) = tenants(document, consent=consent, of=(budget(0, app="web"), budget(1, app="other")))
    assert list(drain.lines("GPU 0", [tenant], [])) == [
        "GPU 0: 1 pod has a share",
        f"  pod team/a (1000 MiB and 20 %): {expected}",
    ]


def test_why_a_pod_is_still_there() -> None:
    leaving = {"deletionTimestamp": "2026-01-31T12:00:00Z", "finalizers": ["example.com/backup"]}
    (ending,) = tenants(pod("a", A, metadata=leaving))
    assert drain.stuck(ending, "") == "it is being deleted since 2026-01-31T12:00:00Z, and waits for example.com/backup"
    (kept,) = tenants(pod("a", A, metadata={"labels": {"app": "web"}}), of=(budget(0, app="web"),))
    assert drain.stuck(kept, "no") == "disruption budget team/web allows no eviction now (no)"
    (free,) = tenants(pod("a", A))
    assert drain.stuck(free, "an answer") == "its eviction was refused (an answer)"
    assert drain.stuck(free, "") == "its eviction has not been asked for yet"
