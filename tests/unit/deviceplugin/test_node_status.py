"""What the node object must say of the GPUs."""

import dataclasses
from typing import Any

import pytest

from deviceplugin.node import node_status
from deviceplugin.node.node_status import VendorCapacity
from unigpu import gpus, names, walls
from unigpu.gpus import Gpu
from unigpu.lowering import Freed
from unigpu.units import GpuUuid, MiB
from unigpu.walls import Wall, Walls

A, B = (Gpu(GpuUuid(f"GPU-{letter}"), index, index, "Test", MiB(1000)) for index, letter in enumerate("ab"))
SICK = dataclasses.replace(B, healthy=False)


@pytest.mark.parametrize(
    ("node_gpus", "expected"), [((A, B), ("2000", "200")), ((A, SICK), ("1000", "100")), ((), ("0", "0"))]
)
def test_resources(node_gpus: tuple[Gpu, ...], expected: tuple[str, str]) -> None:
    found = node_status.resources(node_gpus)
    assert (found[names.RESOURCE_MEMORY], found[names.RESOURCE_CORES]) == expected


@pytest.mark.parametrize(
    ("present", "wrong"),
    [
        ({names.RESOURCE_MEMORY: "2000", names.RESOURCE_CORES: "200"}, set()),
        ({names.RESOURCE_MEMORY: "2k", names.RESOURCE_CORES: "200"}, set()),
        ({names.RESOURCE_MEMORY: "1k", names.RESOURCE_CORES: "200"}, {names.RESOURCE_MEMORY}),
        ({names.RESOURCE_MEMORY: "0"}, {names.RESOURCE_MEMORY, names.RESOURCE_CORES}),
        ({}, {names.RESOURCE_MEMORY, names.RESOURCE_CORES}),
    ],
)
def test_capacity_is_patched_where_it_is_wrong(present: dict[str, str], wrong: set[str]) -> None:
    right = {names.RESOURCE_MEMORY: "2000", names.RESOURCE_CORES: "200"}
    patch = node_status.capacity((A, B), {"status": {"capacity": present, "allocatable": right}})
    assert patch == ({"status": {"capacity": {name: right[name] for name in wrong}}} if wrong else None)


FREED = Freed(MiB(500), 40)


@pytest.mark.parametrize(
    ("freed", "present", "patched"),
    [
        pytest.param(FREED, ("2000", "200"), ("2500", "240"), id="raised by what lowered limits freed"),
        pytest.param(FREED, ("2500", "240"), None, id="right already"),
        pytest.param(Freed(), ("2500", "240"), ("2000", "200"), id="nothing is lowered any more"),
        pytest.param(None, ("2500", "240"), None, id="not reduced before the pods are known"),
        pytest.param(None, ("1000", "100"), ("2000", "200"), id="but raised"),
    ],
)
def test_lowered_limits_raise_the_capacity(
    freed: Freed | None, present: tuple[str, str], patched: tuple[str, str] | None
) -> None:
    def amounts(of: tuple[str, str]) -> dict[str, str]:
        return dict(zip((names.RESOURCE_MEMORY, names.RESOURCE_CORES), of, strict=True))

    status = {"capacity": amounts(present), "allocatable": amounts(present)}
    patch = node_status.capacity((A, B), {"status": status}, freed=freed)
    expected = None if patched is None else {"status": {part: amounts(patched) for part in status}}
    assert patch == expected


def node(capacity: dict[str, str], published: str = "") -> dict[str, Any]:
    """A node whose status has these vendors' resources, and the right amounts of unigpu's own."""
    amounts = {names.RESOURCE_MEMORY: "2000", names.RESOURCE_CORES: "200"} | capacity
    annotations = {names.ANNOTATION_PUBLISHED: published} if published else {}
    return {"metadata": {"annotations": annotations}, "status": {"capacity": amounts, "allocatable": dict(amounts)}}


MEM, GPU = "aliyun.com/gpu-mem", "nvidia.com/gpu"
KNOWN = (MEM, GPU)


@pytest.mark.parametrize(
    ("present", "published", "vendors", "changes"),
    [
        ({}, "", VendorCapacity({MEM: 2}, KNOWN), {MEM: "2"}),
        ({MEM: "2"}, MEM, VendorCapacity({MEM: 2}, KNOWN), {}),
        ({MEM: "2"}, MEM, VendorCapacity({}, KNOWN), {MEM: None}),
        ({MEM: "2"}, "", VendorCapacity({}, KNOWN), {}),
        ({GPU: "0"}, "", VendorCapacity({}, KNOWN), {GPU: None}),
        ({GPU: "0"}, "", VendorCapacity({}, KNOWN, {GPU}), {}),
        ({GPU: "4"}, GPU, VendorCapacity({GPU: 32}, KNOWN, {GPU}), {}),
        ({"rdma/hca": "0"}, "", VendorCapacity({}, KNOWN), {}),
    ],
    ids=["published", "right", "no longer", "another's", "left behind", "registered", "taken over", "no vendor's"],
)
def test_vendors_capacity(
    present: dict[str, str], published: str, vendors: VendorCapacity, changes: dict[str, str | None]
) -> None:
    patch = node_status.capacity((A, B), node(present, published), vendors)
    assert patch == ({"status": {"capacity": changes, "allocatable": changes}} if changes else None)
    if GPU in vendors.registered:
        assert GPU not in vendors.published()


def test_the_published_resources_are_named() -> None:
    right = {names.ANNOTATION_INVENTORY: gpus.dump((A, B)), names.ANNOTATION_WALLS: walls.dump(Walls())}
    present = {"metadata": {"annotations": right}}
    patch = node_status.annotation((A, B), Walls(), present, (GPU, MEM))
    assert patch == {"metadata": {"annotations": {names.ANNOTATION_PUBLISHED: f"{MEM},{GPU}"}}}
    present["metadata"]["annotations"][names.ANNOTATION_PUBLISHED] = MEM
    assert node_status.annotation((A, B), Walls(), present) == {
        "metadata": {"annotations": {names.ANNOTATION_PUBLISHED: None}}
    }


def test_annotation_is_patched_where_it_is_wrong() -> None:
    found = Walls({Wall.DRIVER: "too old"})
    right = {names.ANNOTATION_INVENTORY: gpus.dump((A, B)), names.ANNOTATION_WALLS: walls.dump(found)}
    assert node_status.annotation((A, B), found, {"metadata": {}}) == {"metadata": {"annotations": right}}
    assert node_status.annotation((A, B), found, {"metadata": {"annotations": right}}) is None
    for name, text in right.items():
        patch = node_status.annotation((A, B), found, {"metadata": {"annotations": right | {name: "?"}}})
        assert patch == {"metadata": {"annotations": {name: text}}}
