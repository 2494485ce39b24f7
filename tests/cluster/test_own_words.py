"""Vendors' resources stay in the pod: quotas and limit ranges on them hold, and a live pod's own YAML runs again."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo.kube import CommandFailed, Kube, wait_for
from tests.cluster import harness
from tests.cluster.api import Api
from tests.cluster.conftest import NAME
from unigpu import allocations, names, requests

NAMESPACE = "words"
PATIENCE = 180.0
PODS, UNITS = 200, 10
IMAGE = "localhost/busybox:local"
Tell = Callable[[str], None]
Limits = Mapping[str, str]

QUOTAS: dict[str, tuple[Limits, str, str, int]] = {
    "alibaba": ({"aliyun.com/gpu-mem": "1"}, "aliyun.com/gpu-mem", "10", UNITS),
    "alibaba, whole GPUs": ({"aliyun.com/gpu": "1"}, "aliyun.com/gpu", "3", 3),
    "tencent": (
        {"tencent.com/vcuda-core": "1", "tencent.com/vcuda-memory": "4"},
        "tencent.com/vcuda-core",
        "10",
        UNITS,
    ),
    "tencent, whole GPUs": ({"tencent.com/vcuda-core": "100"}, "tencent.com/vcuda-core", "300", 3),
    "qgpu": (
        {"tke.cloud.tencent.com/qgpu-core": "5", "tke.cloud.tencent.com/qgpu-memory": "1"},
        "tke.cloud.tencent.com/qgpu-memory",
        "10",
        UNITS,
    ),
    "hami": ({"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1000"}, "nvidia.com/gpu", "10", UNITS),
    "hami, percentages": (
        {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "10"},
        "nvidia.com/gpumem-percentage",
        "100",
        UNITS,
    ),
    "hami, whole GPUs": ({"nvidia.com/gpu": "1"}, "nvidia.com/gpu", "3", 3),
    "volcano": (
        {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "900"},
        "volcano.sh/vgpu-memory",
        "9k",
        UNITS,
    ),
    "volcano sharing": ({"volcano.sh/gpu-memory": "500"}, "volcano.sh/gpu-memory", "5000", UNITS),
    "cce": ({"volcano.sh/gpu-mem.128Mi": "8"}, "volcano.sh/gpu-mem.128Mi", "80", UNITS),
    "koordinator": ({"koordinator.sh/gpu": "10"}, "koordinator.sh/gpu", "100", UNITS),
    "elastic-gpu": ({"elasticgpu.io/gpu-memory": "512"}, "elasticgpu.io/gpu-memory", "5120", UNITS),
    "nvshare": ({"nvshare.com/gpu": "1"}, "nvshare.com/gpu", "10", UNITS),
    "whole GPUs by their memory": ({"nvidia.com/gpu": "1"}, names.RESOURCE_MEMORY, "3 GPUs", 3),
    "percentages by their memory": (
        {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "10"},
        names.RESOURCE_MEMORY,
        "10 %, ten times",
        UNITS,
    ),
}
"""Dialect → a pod's limits, the resource under quota, the quota, and how many pods that is."""

SOAK = bool(os.environ.get("UNIGPU_SOAK"))
QUOTAS_IN_SHORT = ("alibaba", "tencent", "hami, percentages", "hami, whole GPUs", "whole GPUs by their memory")
"""`make check-own-words` tries every form."""


def pod(name: str, limits: Limits, **metadata: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sleep", "100000"],
        "resources": {"limits": dict(limits)},
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 1000},
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def quota(resource: str, amount: str) -> dict[str, Any]:
    hard = {f"requests.{resource}": amount}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": hard}}


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    for kind in ("resourcequotas,limitranges,deployments,replicasets", "pods"):
        kube.run(
            "delete", kind, "--all", "-n", NAMESPACE, "--wait=true", "--grace-period=0", "--force", timeout=PATIENCE
        )
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)


def running(kube: Kube, count: int) -> list[dict[str, Any]]:
    """The namespace's pods, once so many run."""

    def look() -> list[dict[str, Any]] | None:
        found = [one for one in kube.items("pods", NAMESPACE) if one["status"].get("phase") == "Running"]
        return found if len(found) == count else None

    return wait_for(f"{count} pods run", look, PATIENCE, lambda: kube.run("describe", "pods", "-n", NAMESPACE))


def counted(kube: Kube) -> None:
    """Wait until the quota is enforced."""
    look = ("get", "resourcequota", "quota", "-n", NAMESPACE)
    wait_for("the quota is counted", lambda: kube.json(*look).get("status", {}).get("used"), 60)


def create_all(kube: Kube, limits: Limits, folder: Path) -> list[tuple[int, str]]:
    """Create all pods at once; return status and answer of each."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"

    def some(first: int) -> list[tuple[int, str]]:
        mine = folder / str(first)
        mine.mkdir()
        api = Api(kube.kubeconfig, mine)
        try:
            return [api.ask("POST", path, pod(f"p-{number}", limits)) for number in range(first, PODS, 8)]
        finally:
            api.close()

    with ThreadPoolExecutor(8) as threads:
        return [answer for answers in threads.map(some, range(8)) for answer in answers]


def webhooks() -> list[int]:
    """The webhook's processes."""
    found = []
    for pid in harness.processes(NAME):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if Path(f"/proc/{pid}").exists() else []
        if words[1:3] == [b"-m", b"webhook"]:
            found.append(pid)
    return found


@pytest.mark.parametrize("dialect", QUOTAS if SOAK else QUOTAS_IN_SHORT)
def test_a_quota_on_a_vendors_name_admits_exactly_its_pods(
    kube: Kube, namespace: str, gpu_mib: int, tmp_path: Path, tell: Tell, dialect: str
) -> None:
    limits, resource, amount, count = QUOTAS[dialect]
    by_size = {"3 GPUs": str(3 * gpu_mib), "10 %, ten times": str(10 * (gpu_mib // 10))}
    amount = by_size.get(amount, amount)
    kube.apply([quota(resource, amount)], namespace)
    counted(kube)
    if dialect == "alibaba":
        victim, *_ = webhooks()
        with ThreadPoolExecutor(1) as aside:
            answers = aside.submit(create_all, kube, limits, tmp_path)
            os.kill(victim, signal.SIGKILL)
            results = answers.result()
    else:
        results = create_all(kube, limits, tmp_path)
    refused = [text for status, text in results if status != 201]
    assert len(results) - len(refused) == count
    unexpected = [text for text in refused if "exceeded quota" not in text]
    # A review that was on its way to the killed replica has no answer; its pod isn't created.
    assert all("failed calling webhook" in text for text in unexpected), unexpected[:1]
    assert not unexpected or dialect == "alibaba"
    assert len(running(kube, count)) == count
    tell(f"{dialect:30} {resource} = {amount}: {count} of {PODS} pods run, {len(refused)} refused")


def test_a_quota_follows_edits_and_deletions(kube: Kube, namespace: str) -> None:
    kube.apply([quota("aliyun.com/gpu-mem", "4")], namespace)
    counted(kube)
    kube.apply([pod("a", {"aliyun.com/gpu-mem": "3"})], namespace)
    with pytest.raises(CommandFailed, match="exceeded quota"):
        kube.apply([pod("b", {"aliyun.com/gpu-mem": "2"})], namespace)
    kube.apply([quota("aliyun.com/gpu-mem", "5")], namespace)
    wait_for("the quota is larger", lambda: created(kube, pod("b", {"aliyun.com/gpu-mem": "2"})), 60)
    kube.run("delete", "pod", "a", "-n", namespace, "--grace-period=0", "--force")
    wait_for("the quota has room again", lambda: created(kube, pod("c", {"aliyun.com/gpu-mem": "3"})), 60)
    running(kube, 2)


def created(kube: Kube, document: Mapping[str, Any]) -> bool:
    try:
        kube.apply([document], NAMESPACE)
    except CommandFailed as error:
        assert "exceeded quota" in error.stderr
        return False
    return True


RANGES: dict[str, tuple[str, Limits, tuple[str, str, str]]] = {
    "alibaba": ("aliyun.com/gpu-mem", {}, ("2", "3", "4")),
    "tencent": ("tencent.com/vcuda-memory", {"tencent.com/vcuda-core": "20"}, ("2", "4", "8")),
    "qgpu": ("tke.cloud.tencent.com/qgpu-memory", {}, ("2", "3", "4")),
    "hami": ("nvidia.com/gpumem", {"nvidia.com/gpu": "1"}, ("500", "1000", "2000")),
    "hami, percentages": ("nvidia.com/gpumem-percentage", {"nvidia.com/gpu": "1"}, ("5", "10", "20")),
    "volcano": ("volcano.sh/vgpu-memory", {"volcano.sh/vgpu-number": "1"}, ("500", "1000", "2000")),
    "cce": ("volcano.sh/gpu-mem.128Mi", {}, ("8", "16", "32")),
    "koordinator": ("koordinator.sh/gpu", {}, ("10", "20", "30")),
    "elastic-gpu": ("elasticgpu.io/gpu-memory", {}, ("500", "1000", "2000")),
}
"""Dialect → the resource under a limit range, a pod's other limits, and min, default and max."""


@pytest.mark.parametrize("dialect", RANGES)
def test_a_limit_range_on_a_vendors_name_holds(kube: Kube, namespace: str, dialect: str) -> None:
    resource, given, (low, default, high) = RANGES[dialect]
    others = dict(given)
    item = {"type": "Container"} | {
        kind: {resource: amount}
        for kind, amount in (("min", low), ("default", default), ("defaultRequest", default), ("max", high))
    }
    document = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "range"}, "spec": {"limits": [item]}}
    kube.apply([document], namespace)
    wait_for("the limit range counts", lambda: refused(kube, pod("x", others | {resource: "1"})), 60)
    assert f"minimum {resource} usage per Container is" in str(refused(kube, pod("x", others | {resource: "1"})))
    over = str(int(high) + int(low))
    assert f"maximum {resource} usage per Container is" in str(refused(kube, pod("x", others | {resource: over})))
    kube.apply([pod("silent", others), pod("most", others | {resource: high})], namespace)
    by_name = {one["metadata"]["name"]: one for one in running(kube, 2)}
    for name, amount in (("silent", default), ("most", high)):
        kept = by_name[name]["spec"]["containers"][0]["resources"]["limits"]
        asked = requests.load(by_name[name]["metadata"]["annotations"][names.ANNOTATION_REQUEST]).containers["main"]
        assert asked.original_fields[resource] == amount
        assert names.RESOURCE_VGPU in kept and resource in kept


def refused(kube: Kube, document: Mapping[str, Any]) -> str | None:
    """Why the API server doesn't take the pod; None: it does."""
    text = json.dumps(document)
    try:
        kube.run("create", "-n", NAMESPACE, "--dry-run=server", "-f", "-", stdin=text)
    except CommandFailed as error:
        return error.stderr
    return None


SHARES: dict[str, tuple[Limits, dict[str, Any]]] = {
    "gpu-mem": ({"aliyun.com/gpu-mem": "1"}, {}),
    "four-gpus": ({"aliyun.com/gpu-mem": "4"}, {"labels": {"aliyun.com/gpu-count": "4"}}),
    "vcuda": (
        {"tencent.com/vcuda-core": "10", "tencent.com/vcuda-memory": "4"},
        {"annotations": {"tencent.com/vcuda-core-limit": "50"}},
    ),
    "hami": ({"nvidia.com/gpu": "2", "nvidia.com/gpumem": "500", "nvidia.com/gpucores": "5"}, {}),
    "percentage": ({"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "5"}, {}),
    "fraction": ({}, {"annotations": {"gpu-fraction": "0.1"}}),
    "own": ({names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "700"}, {}),
}
"""Pods of several dialects: limits and metadata."""


def shares(kube: Kube, count: int) -> dict[str, list[tuple[int, int]]]:
    """By pod, MiB and cores of each GPU that it has."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one in running(kube, count):
        allocation = allocations.load(one["metadata"]["annotations"][names.ANNOTATION_ALLOCATION])
        found[one["metadata"]["name"]] = [(share.memory, share.cores) for share in allocation.containers["main"]]
    return found


def test_twenty_live_pods_are_replaced_by_their_own_yaml(kube: Kube, namespace: str, tmp_path: Path) -> None:
    documents = []
    for number in range(20):
        name = list(SHARES)[number % len(SHARES)]
        limits, metadata = SHARES[name]
        documents.append(pod(f"{name}-{number}", limits, **metadata))
    kube.apply(documents, namespace)
    before = shares(kube, 20)
    # Over the running pods, the manifests change nothing.
    kube.apply([one | {"spec": one["spec"] | {"schedulerName": "hami-scheduler"}} for one in documents], namespace)
    kube.apply(documents, namespace)
    assert shares(kube, 20) == before
    uids = {one["metadata"]["uid"] for one in kube.items("pods", namespace)}
    file = tmp_path / "live.yaml"
    file.write_text(kube.run("get", "pods", "-n", namespace, "-o", "yaml"))
    kube.run("replace", "--force", "--grace-period=0", "-n", namespace, "-f", str(file), timeout=PATIENCE)
    assert shares(kube, 20) == before
    assert not uids & {one["metadata"]["uid"] for one in kube.items("pods", namespace)}


@pytest.mark.parametrize("profile", ["legacy", "general", "baseline", "restricted", "netadmin", "sysadmin"])
def test_a_debug_copy_has_no_more_than_its_original(kube: Kube, namespace: str, profile: str) -> None:
    kube.apply([pod(name, limits, **metadata) for name, (limits, metadata) in SHARES.items()], namespace)
    before = shares(kube, len(SHARES))
    for name in SHARES:
        copied = ("--copy-to", f"copy-{name}", "--image", IMAGE, "--image-pull-policy=Never", "--profile", profile)
        kube.run("debug", name, "-n", namespace, *copied, "--", "sleep", "100000")
    after = shares(kube, 2 * len(SHARES))
    for name, had in before.items():
        copied_shares = after[f"copy-{name}"]
        assert [memory for memory, _ in copied_shares] == [memory for memory, _ in had]
        assert all(cores <= most for (_, cores), (_, most) in zip(copied_shares, had, strict=True))


def test_a_namespace_is_restored_from_a_backup(kube: Kube, namespace: str) -> None:
    """As backup tools do it: every object without what the API server alone writes."""
    container = pod("x", {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "600"})["spec"] | {"restartPolicy": "Always"}
    labels = {"app": "x"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": container},
        },
    }
    alone = [pod(name, limits, **metadata) for name, (limits, metadata) in SHARES.items()]
    kube.apply([quota("nvidia.com/gpumem", "10000"), deployment, *alone], namespace)
    before = shares(kube, len(SHARES) + 3)
    kinds = ("resourcequotas", "deployments.apps", "replicasets.apps", "pods")
    saved = [one for kind in kinds for one in kube.json("get", kind, "-n", namespace)["items"]]
    for kind in reversed(kinds):
        kube.run("delete", kind, "--all", "-n", namespace, "--grace-period=0", "--force", timeout=PATIENCE)
    wait_for("all is gone", lambda: not kube.items("pods", namespace), PATIENCE)
    for one in saved:
        if not one["metadata"].get("ownerReferences"):
            for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
                one["metadata"].pop(field, None)
            one.pop("status", None)
            kube.run("create", "-n", namespace, "-f", "-", stdin=json.dumps(one))
    after = shares(kube, len(SHARES) + 3)
    assert {name: after[name] for name in SHARES} == {name: before[name] for name in SHARES}
    assert sorted(map(str, after.values())) == sorted(map(str, before.values()))
