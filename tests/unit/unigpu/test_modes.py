"""Modes of nodes, and what they enforce."""

from dataclasses import replace

import pytest

from unigpu import modes
from unigpu.modes import Enforcement, NodeMode
from unigpu.requests import ComputePolicy, PlacementPolicy, Request
from unigpu.units import MiB, Percent

SHARE = Request(1, MiB(1000), cores=Percent(30))
OPEN = Request(1, MiB(1000), cores=Percent(30), isolated=False)
WHOLE = Request(1, whole=True)

LABELS = {
    "none": ({}, NodeMode.MIXED),
    "ACK": ({"ack.node.gpu.schedule": "cgpu"}, NodeMode.CGPU),
    "ours": ({"unigpu.dev/mode": "share"}, NodeMode.SHARE),
    "ours before ACK": ({"unigpu.dev/mode": "topology", "ack.node.gpu.schedule": "cgpu"}, NodeMode.TOPOLOGY),
    "unknown": ({"ack.node.gpu.schedule": "something"}, NodeMode.MIXED),
    "unknown ours, known ACK": ({"unigpu.dev/mode": "x", "ack.node.gpu.schedule": "default"}, NodeMode.DEFAULT),
}


@pytest.mark.parametrize("case", LABELS)
def test_of_labels(case: str) -> None:
    labels, expected = LABELS[case]
    assert modes.from_labels(labels) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("binpack", PlacementPolicy.BINPACK),
        ("spread", PlacementPolicy.SPREAD),
        ("Spread", None),
        ("", None),
        (None, None),
    ],
)
def test_gpu_policy(value: str | None, expected: PlacementPolicy | None) -> None:
    labels = {} if value is None else {"ack.node.gpu.placement": value}
    assert modes.gpu_policy(labels) is expected


QGPU = Request(1, MiB(1000), cores=Percent(30), dialect="qgpu")
SOFT = replace(QGPU, policy=ComputePolicy.SOFT, ceiling=Percent(100))


@pytest.mark.parametrize(
    ("value", "request_", "becomes"),
    [
        (None, QGPU, QGPU),
        ("fixed-share", QGPU, QGPU),
        ("burst-share", QGPU, SOFT),
        ("best-effort", QGPU, replace(QGPU, policy=ComputePolicy.UNLIMITED)),
        ("something", QGPU, QGPU),
        ("burst-share", SHARE, SHARE),
        ("burst-share", replace(QGPU, cores=Percent(0)), replace(QGPU, cores=Percent(0))),
        ("burst-share", replace(WHOLE, dialect="qgpu"), replace(WHOLE, dialect="qgpu")),
    ],
)
def test_the_nodes_policy_for_qgpu(value: str | None, request_: Request, becomes: Request) -> None:
    labels = {} if value is None else {"tke.cloud.tencent.com/qgpu-schedule-policy": value}
    assert modes.on_node(request_, labels) == becomes


@pytest.mark.parametrize("mode", NodeMode)
def test_refusal(mode: NodeMode) -> None:
    share, whole = modes.refusal(mode, SHARE), modes.refusal(mode, WHOLE)
    if mode in (NodeMode.TOPOLOGY, NodeMode.DEFAULT):
        assert share == f"node offers whole GPUs only (mode {mode}), but a share is requested"
        assert whole is None
    elif mode is NodeMode.MIXED:
        assert (share, whole) == (None, None)
    else:
        assert share is None
        assert whole == f"node offers shares only (mode {mode}), but whole GPUs are requested"


ENFORCED = {
    "mixed": (NodeMode.MIXED, {}, SHARE, True, True),
    "core_mem": (NodeMode.CORE_MEM, {}, SHARE, True, True),
    "cgpu": (NodeMode.CGPU, {}, SHARE, True, False),
    "share": (NodeMode.SHARE, {}, SHARE, False, False),
    "CGPU_DISABLE": (NodeMode.CGPU, {}, OPEN, False, False),
    "node without isolation": (NodeMode.CORE_MEM, {"cgpu.disable.isolation": "true"}, SHARE, False, False),
    "label says false": (NodeMode.CORE_MEM, {"cgpu.disable.isolation": "false"}, SHARE, True, True),
    "whole": (NodeMode.MIXED, {}, WHOLE, False, False),
}


@pytest.mark.parametrize("case", ENFORCED)
def test_enforcement(case: str) -> None:
    mode, labels, request, memory, cores = ENFORCED[case]
    assert modes.enforcement(mode, labels, request) == Enforcement(memory, cores)
