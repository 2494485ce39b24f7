"""What the node object must say of the GPUs."""

import dataclasses

import pytest

from deviceplugin.node import node_status
from unigpu import gpus, names
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

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


def test_annotation_is_patched_where_it_is_wrong() -> None:
    text = gpus.dump((A, B))
    assert node_status.annotation((A, B), {"metadata": {}}) == {
        "metadata": {"annotations": {names.ANNOTATION_INVENTORY: text}}
    }
    assert node_status.annotation((A, B), {"metadata": {"annotations": {names.ANNOTATION_INVENTORY: text}}}) is None
