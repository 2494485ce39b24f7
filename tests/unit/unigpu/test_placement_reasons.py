"""Placement: why a pod doesn't fit on a node, in words."""

import pytest

from tests.unit.unigpu.placements import FREE, FULL_GPU, HALF, MIXED, RULES, node, pod, share, used, whole
from unigpu import placement
from unigpu.fit import Node
from unigpu.modes import NodeMode
from unigpu.placement import Rules, Unschedulable
from unigpu.requests import Request
from unigpu.units import Percent

REASONS = {
    "no GPUs": (Node("n", ()), share(1), "node has no GPUs reported by the node agent"),
    "too small": (node(FREE, FREE), share(30000), "container c0 needs 1 GPU with 30000 MiB free: 2 of 2 too small"),
    "counted": (
        node(used(20000), used(22000), FULL_GPU, FULL_GPU),
        share(8000, 30),
        "container c0 needs 1 GPU with 8000 MiB and 30 percent of compute time free: "
        "2 of 4 allocated whole, 2 with too little free memory",
    ),
    "some fit": (
        node(FREE, used(0, 80), used(0, 0, 16)),
        share(0, 30, gpus=2),
        "container c0 needs 2 GPUs with 30 percent of compute time free on each: "
        "only 1 of 3 fits, 1 of 3 with too little free compute time, 1 with all shares taken",
    ),
    "too few": (node(FREE), whole(2), "container c0 needs 2 whole GPUs: node has 1"),
    "not empty": (node(HALF), whole(), "container c0 needs 1 whole GPU: 1 of 1 not empty"),
    "percent": (
        node(HALF),
        Request(1, memory_percent=Percent(60)),
        "container c0 needs 1 GPU with 60 percent of memory free: 1 of 1 with too little free memory",
    ),
    "shares on a node of whole GPUs": (
        node(FREE, mode=NodeMode.TOPOLOGY),
        share(1),
        "container c0: node offers whole GPUs only (mode topology), but a share is requested",
    ),
    "whole GPUs on a node of shares": (
        node(FREE, mode=NodeMode.CGPU),
        whole(),
        "container c0: node offers shares only (mode cgpu), but whole GPUs are requested",
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_reasons(case: str) -> None:
    on, request, expected = REASONS[case]
    with pytest.raises(Unschedulable) as caught:
        placement.place(on, pod(request), RULES)
    assert str(caught.value) == expected
    found = placement.reason(on, pod(request), RULES)
    assert found is not None
    assert found.text == expected


def test_reasons_of_selectors() -> None:
    found = placement.reason(Node("n", MIXED), pod(share(1000), use_types=("v100",)), RULES)
    assert found is not None
    assert found.text.endswith("3 of 3 excluded by model")
    found = placement.reason(Node("n", MIXED), pod(share(1000), use_uuids=("g9",)), RULES)
    assert found is not None
    assert found.text.endswith("3 of 3 excluded by UUID")


def test_brief_reasons_leave_numbers_of_gpus_out() -> None:
    first = placement.reason(node(used(20000), FULL_GPU), pod(share(8000)), RULES)
    second = placement.reason(node(FULL_GPU, used(20000), used(20000)), pod(share(8000)), RULES)
    assert first is not None
    assert second is not None
    assert first.text != second.text
    assert first.brief == second.brief
    assert (
        first.brief
        == "container c0 needs 1 GPU with 8000 MiB free: GPUs allocated whole or with too little free memory"
    )


MANY = Rules(shares_per_gpu=1000)


def test_reason_of_containers_that_fit_only_one_by_one() -> None:
    found = placement.reason(node(FREE), pod(share(20000), share(20000)), RULES)
    assert found is not None
    assert found.text == "containers c0, c1 fit one by one, but not together"


@pytest.mark.parametrize("gpus", [1, 4])
def test_a_pod_of_so_many_containers_that_nobody_waits_for_it(gpus: int) -> None:
    """Its author chooses how long a search takes."""
    effort = placement.Effort()
    found = placement.reason(node(*[FREE] * 8), pod(*[share(10, gpus=gpus)] * 250), MANY, effort)
    assert found is not None
    assert found.text.startswith("250 containers with GPUs take too long to place together; accepted: fewer")
    assert effort.spent <= placement.MOST_EFFORT + 8 * 250
    effort = placement.Effort()
    assert placement.reason(node(*[FREE] * 8), pod(*[share(10, gpus=gpus)] * 32), MANY, effort) is None
    assert effort.spent < placement.MOST_EFFORT // 4
