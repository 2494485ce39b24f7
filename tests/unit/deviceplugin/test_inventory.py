"""The GPUs over time, and what the node object must say of them."""

import dataclasses
import json

import pytest

from deviceplugin.node import inventory, node_status
from deviceplugin.node.inventory import GpuReading, Inventory, Sample
from unigpu import errors, gpus, names
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

A, B = (Gpu(GpuUuid(f"GPU-{letter}"), index, index, "Test", MiB(1000)) for index, letter in enumerate("ab"))
BOTH = Sample((GpuReading(0, A), GpuReading(1, B)))


def after(known: Inventory, *looks: tuple[float, Sample]) -> Inventory:
    for now, look in looks:
        known = inventory.after(known, look, now, quiet=60)
    return known


def health(known: Inventory) -> dict[int, bool]:
    return {gpu.index: gpu.healthy for gpu in known.gpus}


def test_read() -> None:
    gpu = {"index": 0, "uuid": "GPU-a", "minor": 0, "model": "Test", "memory": 1000, "links": {"GPU-b": 50}}
    line = json.dumps({"gpus": [gpu, {"index": 1, "problem": "lost"}], "xids": {"GPU-a": 79}}).encode()
    sample = inventory.read(line)
    assert sample.readings == (
        GpuReading(0, dataclasses.replace(A, links={GpuUuid("GPU-b"): 50})),
        GpuReading(1, None, "lost"),
    )
    assert sample.xids == {"GPU-a": 79}


def test_read_what_the_driver_refuses() -> None:
    with pytest.raises(errors.Unavailable, match="Driver Not Loaded"):
        inventory.read(b'{"error": "Driver Not Loaded"}')


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"GPUs": [{}], "xids": {}}', b'{"GPUs": [], "xids": 1}'])
def test_read_something_else(line: bytes) -> None:
    with pytest.raises(errors.Malformed):
        inventory.read(line)


def test_lost_gpu_keeps_its_name_and_recovers() -> None:
    lost = Sample((GpuReading(0, A), GpuReading(1, None, "GPU is lost")))
    known = after(Inventory(), (0, BOTH), (1, lost))
    assert known.gpus == (A, dataclasses.replace(B, healthy=False))
    assert known.unhealthy == {B.uuid: "GPU is lost"}
    assert after(known, (2, BOTH)).gpus == (A, B)


def test_gpu_that_was_never_seen_is_left_out() -> None:
    assert after(Inventory(), (0, Sample((GpuReading(0, A), GpuReading(1, None, "lost"))))).gpus == (A,)


def test_gpu_that_is_numbered_no_more_is_gone() -> None:
    assert after(Inventory(), (0, BOTH), (1, Sample((GpuReading(0, A),)))).gpus == (A,)


def test_xid_counts_until_it_is_quiet() -> None:
    known = after(Inventory(), (0, BOTH), (1, dataclasses.replace(BOTH, xids={A.uuid: 79})))
    assert health(known) == {0: False, 1: True}
    assert known.unhealthy == {A.uuid: "XID 79"}
    known = after(known, (60, BOTH))
    assert (health(known), known.unhealthy) == ({0: False, 1: True}, {A.uuid: "XID 79"})
    assert health(after(known, (61, BOTH))) == {0: True, 1: True}


@pytest.mark.parametrize("xid", sorted(inventory.XIDS_OF_PROGRAMS))
def test_xid_of_a_program_is_not_the_gpus_fault(xid: int) -> None:
    assert health(after(Inventory(), (0, dataclasses.replace(BOTH, xids={A.uuid: xid})))) == {0: True, 1: True}


def test_no_answer_at_all() -> None:
    known = inventory.lost(after(Inventory(), (0, BOTH)), "hangs")
    assert health(known) == {0: False, 1: False}
    assert health(after(known, (1, BOTH))) == {0: True, 1: True}


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
