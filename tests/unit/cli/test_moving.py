"""`kubectl unigpu doctor --from-cluster`: what a move would change."""

import dataclasses
from typing import Any

from cli.doctor import moving
from cli.doctor.check import Unread
from cli.doctor.moving import Pods, Report
from cli.text import PIPE
from webhook.translation.options import Options

Json = dict[str, Any]


def pod(name: str, limits: dict[str, str], *, owner: str = "", **metadata: Any) -> Json:
    about: Json = {"name": name, "namespace": "team", "annotations": {}, **metadata}
    if owner:
        about["ownerReferences"] = [{"kind": "ReplicaSet", "name": owner, "controller": True, "uid": "1"}]
    return {"metadata": about, "spec": {"containers": [{"name": "main", "resources": {"limits": limits}}]}}


def gathered(*found: Json) -> Pods:
    pods = Pods(Options())
    for one in found:
        pods.add(one)
    return pods


def report(pods: Pods, **changes: Any) -> Report:
    plain = Report(pods.workloads(), pods.already, [], [], {}, [], [])
    return dataclasses.replace(plain, **changes)


def said(found: Report) -> str:
    return "\n".join(moving.lines(found, PIPE))


def test_pods_of_a_controller_are_one_line_with_their_dialect() -> None:
    share = {"aliyun.com/gpu-mem": "3"}
    pods = gathered(pod("a-1", share, owner="a"), pod("a-2", share, owner="a"), pod("none", {"cpu": "1"}))
    (one,) = pods.workloads()
    assert (one.title, one.pods, one.dialects, one.owned) == ("team ReplicaSet/a", 2, {"alibaba"}, True)
    assert moving.status(report(pods)) == 0
    assert "team       ReplicaSet/a     2  alibaba  translated" in said(report(pods))


def test_a_refused_pod_is_said_in_admissions_own_words() -> None:
    found = report(gathered(pod("bad", {"tencent.com/vcuda-core": "150"})))
    assert moving.status(found) == 2
    assert "refused" in said(found)
    assert "team Pod/bad: container main: tencent.com/vcuda-core = 150" in said(found)


def test_a_pod_without_a_controller_has_to_be_created_by_somebody() -> None:
    found = report(gathered(pod("alone", {"nvidia.com/gpu": "1"})))
    assert moving.status(found) == 1
    assert "translated, nobody creates it again" in said(found)


def test_a_warning_says_what_changes() -> None:
    job = pod("gang", {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "4096"}, owner="job")
    job["metadata"]["annotations"]["scheduling.k8s.io/group-name"] = "gang"
    job["spec"]["schedulerName"] = "volcano"
    found = report(gathered(job))
    assert moving.status(found) == 1
    assert "translated with a warning" in said(found)
    assert "scheduling.k8s.io/group-name" in said(found)


def test_pods_that_are_unigpus_already_are_counted_apart() -> None:
    ours = pod("ours", {"unigpu.dev/vgpu": "1"})
    ours["metadata"]["annotations"]["unigpu.dev/request"] = "{}"
    found = report(gathered(ours))
    assert (found.already, found.workloads) == (1, [])
    assert "1 pod of unigpu's already" in said(found)


def workload(name: str, image: str, labels: dict[str, str] | None = None) -> Json:
    template = {"spec": {"containers": [{"image": image}]}}
    return {
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels or {}},
        "spec": {"template": template},
    }


def test_other_gpu_software_is_known_by_name_or_image() -> None:
    assert moving.component(workload("hami-scheduler", "x")) == ("HAMi", "kube-system/hami-scheduler")
    assert moving.component(workload("plugin", "registry/nvidia/k8s-device-plugin:v1")) == (
        "NVIDIA's device plugin",
        "kube-system/plugin",
    )
    assert moving.component(workload("coredns", "coredns")) is None
    ours = workload("unigpu-node-agent", "unigpu:1", {moving.OWN_LABEL: "unigpu"})
    assert moving.component(ours) is None
    assert moving.webhook({"metadata": {"name": "hami-webhook"}}) == ("HAMi", "hami-webhook")
    assert moving.webhook({"metadata": {"name": "unigpu-webhook"}}) is None


def test_what_nodes_offer_is_summed_by_resource() -> None:
    capacity = {"cpu": "4", "nvidia.com/gpu": "8", "aliyun.com/gpu-mem": "0", "tencent.com/vcuda-core": "800"}
    node = moving.offered({"status": {"capacity": capacity}})
    assert node == {"nvidia.com/gpu": 8, "tencent.com/vcuda-core": 800}
    text = said(report(gathered(), nodes={"a": node, "b": node}))
    assert "nvidia.com/gpu: 16 on 2 nodes" in text


def test_what_may_not_be_read_is_said_and_is_no_all_clear() -> None:
    found = report(gathered(), workloads=Unread("pods is forbidden"), quotas=Unread("quotas is forbidden"))
    assert "not read: pods is forbidden" in said(found)
    assert "not read: quotas is forbidden" in said(found)
    assert moving.status(found) == 2
    document = moving.document(found)
    assert document["workloads"] is None and document["quotas"] is None


def test_the_document_has_what_the_lines_have() -> None:
    pods = gathered(pod("a", {"aliyun.com/gpu-mem": "3"}, owner="a"))
    document = moving.document(report(pods, components=[("HAMi", "x/y")], quotas=["team/q: nvidia.com/gpu"]))
    assert document["workloads"][0]["dialects"] == ["alibaba"]
    assert document["components"] == [{"product": "HAMi", "name": "x/y"}]
    assert document["quotas"] == ["team/q: nvidia.com/gpu"]
