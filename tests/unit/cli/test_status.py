"""`kubectl unigpu status`: the table, and what happens without a cluster."""

import re
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as command
from cli import status
from unigpu import allocations, gpus, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.requests import PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


def node(name: str, *node_gpus: Gpu) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": {names.ANNOTATION_INVENTORY: gpus.dump(node_gpus)}}}


def pod(name: str, phase: str = "Running", **shares: Share) -> dict[str, Any]:
    text = allocations.dump(Allocation("n1", {container: (share,) for container, share in shares.items()}))
    metadata = {"name": name, "namespace": "team", "annotations": {names.ANNOTATION_ALLOCATION: text}}
    return {"metadata": metadata, "status": {"phase": phase}}


def test_a_line_for_each_container_and_each_empty_gpu() -> None:
    nodes = [
        node("n2", Gpu(A, 0, 0, "T", MiB(100), healthy=False)),
        node("n1", Gpu(B, 1, 1, "T", MiB(200)), Gpu(A, 0, 0, "T", MiB(200))),
        {"metadata": {"name": "n3"}},
        {"metadata": {"name": "n4", "annotations": {names.ANNOTATION_INVENTORY: "?"}}},
    ]
    pods = [
        pod("p", c=Share(A, MiB(50), Percent(30)), d=Share(A, MiB(0), Percent(10))),
        pod("q", c=Share(B, MiB(200), Percent(100), whole=True)),
        pod("gone", "Succeeded", c=Share(A, MiB(50), Percent(0))),
        {"metadata": {"name": "other"}},
        {"metadata": {"name": "broken", "annotations": {names.ANNOTATION_ALLOCATION: "?"}}},
    ]
    assert status.table(status.gpu_tenants(nodes, pods)).splitlines() == [
        "NODE  GPU  MODEL          MEMORY (MiB)  CORES  LIMITS        POD     CONTAINER",
        "n1    0    T              50/200        30 %   as requested  team/p  c",
        "n1    0    T              any/200       10 %   as requested  team/p  d",
        "n1    1    T              200/200       whole  as requested  team/q  c",
        "n2    0    T (unhealthy)  0/100         0 %    -             -       -",
    ]


@pytest.mark.parametrize(
    ("limits", "applied", "cells"),
    [
        ("memory=20,cores=5,ceiling=80", None, ["20/200", "5 to 80 %", "changed, not in force yet"]),
        ("memory=20", '{"c":{"memory":20}}', ["20/200", "30 %", "changed"]),
        ("memory=20", '{"c":{"held":{"GPU-a":50},"memory":20}}', ["20/200", "30 %", "changed, 50 MiB still held"]),
        (None, '{"c":{"memory":20}}', ["50/200", "30 %", "as requested, not in force yet"]),
        (None, '{"c":{"held":{"GPU-a":70}}}', ["50/200", "30 %", "as requested, 70 MiB still held"]),
        ("policy=unlimited", '{"c":{"policy":"unlimited"}}', ["50/200", "30 to 100 %", "changed"]),
        ("memory=?", None, ["50/200", "30 %", "as requested"]),
    ],
)
def test_limits_that_were_changed(limits: str | None, applied: str | None, cells: list[str]) -> None:
    document = pod("p", c=Share(A, MiB(50), Percent(30)))
    annotations = document["metadata"]["annotations"]
    asked = Request(gpus=1, memory=MiB(50), cores=Percent(30))
    annotations[names.ANNOTATION_REQUEST] = requests.dump(PodRequest({"c": asked}))
    changed = {names.ANNOTATION_LIMITS: limits, names.ANNOTATION_LIMITS_APPLIED: applied}
    annotations |= {name: text for name, text in changed.items() if text is not None}
    _, line = status.table(status.gpu_tenants([node("n1", Gpu(A, 0, 0, "T", MiB(200)))], [document])).splitlines()
    assert re.split(r"\s{2,}", line) == ["n1", "0", "T", *cells, "team/p", "c"]


def test_without_a_cluster_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["status", "--kubeconfig", str(tmp_path / "none")]) == 2
    assert "no cluster to ask" in capsys.readouterr().err
