"""Green contexts: what programs/green_contexts.py saw of each rule."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

INVALID_VALUE, INVALID_CONTEXT, INVALID_HANDLE, CONTEXT_IS_DESTROYED = 1, 201, 400, 709
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 900, 901
INVALID_RESOURCE_TYPE, INVALID_RESOURCE_CONFIGURATION, STREAM_DETACHED = 914, 915, 917


@pytest.fixture
def seen(machine: "Machine") -> Any:
    machine.create("--profile", "a100-40", "--driver-version", "610.43.02", "--cuda-version", "13.4")
    return machine.seen("green_contexts")


def test_parts_of_a_gpu(seen: dict[str, Any]) -> None:
    assert seen["parts_of_a_gpu"] == {
        "whole": [108, 4, 2],
        "groups": [20, 20, 20, 48],
        "splits": [INVALID_RESOURCE_CONFIGURATION, INVALID_VALUE, INVALID_RESOURCE_CONFIGURATION, [40, 68]],
        "descriptions": [0, INVALID_RESOURCE_CONFIGURATION, INVALID_RESOURCE_TYPE, 0],
    }


def test_they_hold_the_primary_context(seen: dict[str, Any]) -> None:
    before, with_two, with_one, after, memory_of_the_second, multiprocessors = 0, 1, 1, 0, 0, 20
    states = [before, with_two, with_one, after]
    assert seen["they_hold_the_primary_context"] == [states, memory_of_the_second, multiprocessors]


def test_kernels_stay_in_their_part(seen: dict[str, Any]) -> None:
    assert seen["kernels_stay_in_their_part"] == {"apart": [1, 1], "together": [1, 2], "waves": [1, 2]}


def test_a_current_green_context(seen: dict[str, Any]) -> None:
    freed = 0
    assert seen["current_green_context"] == [True] * 4 + [freed, INVALID_HANDLE]


def test_after_the_end(seen: dict[str, Any]) -> None:
    destroyed = 0
    answers = [STREAM_DETACHED, STREAM_DETACHED, destroyed, CONTEXT_IS_DESTROYED, INVALID_CONTEXT]
    assert seen["after_the_end"] == answers


def test_events_of_all_its_work(seen: dict[str, Any]) -> None:
    after_both, waited_for = 2, 2
    answers = [[after_both, waited_for], CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, INVALID_VALUE]
    assert seen["events_of_all_its_work"] == answers
