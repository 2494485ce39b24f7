"""Tensor maps: the driver checks what it is given, on GPUs that have them."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

INVALID_VALUE, INVALID_CONTEXT, NOT_SUPPORTED, SMALL = 1, 201, 801, 1


def run(machine: "Machine", profile: str) -> Any:
    machine.create("--profile", profile, "--driver-version", "615.10", "--cuda-version", "13.5")
    return machine.seen("tensor_maps")


@pytest.mark.parametrize("profile", ["h100", "rtxpro6000"])
def test_arguments_are_checked(machine: "Machine", profile: str) -> None:
    seen = run(machine, profile)
    assert seen["without a context"] == INVALID_CONTEXT
    assert seen["taken"] == [0] * len(seen["taken"])
    assert {why: status for why, status in seen["refused"].items() if status != INVALID_VALUE} == {}
    assert len(seen["refused"]) > 20
    assert seen["replaced"] == [0, INVALID_VALUE, 0, INVALID_VALUE, SMALL, INVALID_VALUE]


def test_wide_ones_need_a_later_gpu(machine: "Machine") -> None:
    assert run(machine, "h100")["wide"] == [NOT_SUPPORTED] * 5


def test_wide_ones(machine: "Machine") -> None:
    assert run(machine, "rtxpro6000")["wide"] == [0, INVALID_VALUE, 0, INVALID_VALUE, INVALID_VALUE]


def test_older_gpus_have_none(machine: "Machine") -> None:
    seen = run(machine, "a100-40")
    assert {*seen["taken"], *seen["refused"].values(), *seen["wide"]} == {NOT_SUPPORTED}
