"""`kubectl unigpu status`: the table, and what happens without a cluster."""

from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as command
from cli import usage
from unigpu import allocations, gpus, names
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB, Percent

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")


def node(name: str, *cards: Gpu) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": {names.ANNOTATION_INVENTORY: gpus.dump(cards)}}}


def pod(name: str, phase: str = "Running", **shares: Share) -> dict[str, Any]:
    text = allocations.dump(Allocation("n1", {container: (share,) for container, share in shares.items()}))
    metadata = {"name": name, "namespace": "team", "annotations": {names.ANNOTATION_ALLOCATION: text}}
    return {"metadata": metadata, "status": {"phase": phase}}


def test_a_line_for_each_container_and_each_empty_card() -> None:
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
    assert usage.table(usage.cards(nodes, pods)).splitlines() == [
        "NODE  GPU  MODEL          MEMORY (MiB)  CORES  POD     CONTAINER",
        "n1    0    T              50/200        30 %   team/p  c",
        "n1    0    T              any/200       10 %   team/p  d",
        "n1    1    T              200/200       whole  team/q  c",
        "n2    0    T (unhealthy)  0/100         0 %    -       -",
    ]


def test_without_a_cluster_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["status", "--kubeconfig", str(tmp_path / "none")]) == 2
    assert "no cluster to ask" in capsys.readouterr().err
