"""Nodes on which another device plugin would serve a vendor's resource a second time."""

from typing import Any

from scheduler.other_plugins import OtherPlugins
from unigpu import api_objects, names, vendor_resources


def node(name: str, **capacity: str) -> api_objects.NodeFacts:
    resources = {key.replace("_", "/"): amount for key, amount in capacity.items()}
    return api_objects.node({"metadata": {"name": name}, "status": {"allocatable": resources}})


def pod(*containers: dict[str, str]) -> dict[str, Any]:
    return {"spec": {"containers": [{"resources": {"limits": limits}} for limits in containers]}}


SHARE = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "300", names.RESOURCE_VGPU: "1"}


def test_a_node_with_another_plugin_is_left_out_for_what_that_plugin_offers() -> None:
    others = OtherPlugins(vendor_resources.RESOURCES)
    others.nodes_listed([node("a"), node("b", **{"nvidia.com_gpu": "4"}), node("c", rdma_hca="1")])
    refused = others.refusals(pod(SHARE), ["a", "b", "c"])
    assert list(refused) == ["b"]
    assert "node offers nvidia.com/gpu by another device plugin" in refused["b"]
    assert others.refusals(pod({"aliyun.com/gpu-mem": "3", names.RESOURCE_VGPU: "1"}), ["a", "b"]) == {}
    assert others.refusals(pod({"nvidia.com/gpu": "1"}, {names.RESOURCE_VGPU: "1"}), ["b"]) == {}


def test_an_empty_offer_counts_and_ends() -> None:
    """The kubelet refuses a pod for a resource of which its node has 0, as a plugin leaves it behind."""
    others = OtherPlugins(vendor_resources.RESOURCES)
    others.node_changed(node("b", **{"nvidia.com_gpu": "0"}))
    assert others.refusals(pod(SHARE), ["b"])
    others.node_changed(node("b"))
    assert others.refusals(pod(SHARE), ["b"]) == {}
    others.node_changed(node("b", **{"nvidia.com_gpu": "4"}))
    others.node_gone("b")
    assert others.refusals(pod(SHARE), ["b"]) == {}
