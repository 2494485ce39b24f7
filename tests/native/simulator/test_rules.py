"""Rules of real drivers that programs depend on: what programs/rules.py and memory_rules.py saw of each."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

INVALID_VALUE, INVALID_DEVICE, UNSUPPORTED, INVALIDATED = 1, 101, 900, 901


Seen = dict[str, Any]


def run(machine: "Machine", program: str) -> Seen:
    machine.create("--profile", "a100-40", "--gpus", "2", "--driver-version", "580.65.06", "--cuda-version", "13.0")
    found: Seen = machine.seen(program)
    return found


@pytest.fixture
def seen(machine: "Machine") -> Seen:
    return run(machine, "rules")


@pytest.fixture
def memory(machine: "Machine") -> Seen:
    return run(machine, "memory_rules")


def test_outputs_names_and_sizes(seen: Seen) -> None:
    assert seen["memory_info_without_outputs"] == [0, 0, 0, True]
    assert seen["names_of_null"] == [INVALID_VALUE] * 4
    assert seen["nothing_allocated_and_freed"] == [0, 0, 0, 0, INVALID_VALUE]
    with_48_kib, one_more, opted_in = [0, True], [INVALID_VALUE, False], [0, True]
    assert seen["shared_memory_needs_opting_in"] == [with_48_kib, one_more, opted_in, INVALID_VALUE]


def test_memory(memory: Seen) -> None:
    assert memory["mapped_host_memory_is_device_memory"] == [0, 0, 7, 0, [8, 64], INVALID_VALUE]
    assert memory["pools_remember_access"] == [3, 0, INVALID_VALUE]


def test_pools_by_place(memory: Seen) -> None:
    nothing_on_the_gpu, host_memory = 0, 1
    works = [0, nothing_on_the_gpu, host_memory, 1 << 30]
    assert memory["pools_in_host_memory"] == {"host": works, "node": works, "nearest node": [INVALID_VALUE]}
    assert memory["pools_of_another_gpu"] == [INVALID_VALUE, 0, INVALID_VALUE]
    right = [True, True, True, INVALID_VALUE]
    assert memory["pools_by_location_and_type"] == {
        "device": right,
        "host": right,
        "managed": right,
        "wrong": [INVALID_VALUE, INVALID_DEVICE, INVALID_VALUE, INVALID_VALUE],
    }


def test_memory_inside_graphs(memory: Seen) -> None:
    """Used, used at most, reserved, reserved at most, taken from the GPU; after a trim used, reserved, taken."""
    in_a_row = [1, 0, 64, 64, 64, 64, 0, 0, 0]
    side_by_side = [8, 0, 512, 512, 512, 512, 0, 0, 0]
    assert memory["a_graph_reuses_memory"] == {"row": in_a_row, "sides": side_by_side, "capture": in_a_row}
    assert memory["a_graph_allocates_where_its_node_says"] == 64


def test_a_larger_allocation_of_a_graph_reuses_smaller_ones(memory: Seen) -> None:
    """Used at most, used, reserved at each of two launches; used when the larger one is freed."""
    assert memory["a_larger_allocation_reuses_smaller_ones"] == {
        "128": [128, 128, 128, 128, 128, 128, 0],
        "192": [192, 192, 192, 192, 192, 192, 0],
    }


def test_what_is_said_of_managed_memory(memory: Seen) -> None:
    """Read mostly, preferred location, its type, three accessors, last prefetch; nothing outlives the memory."""
    device, host, nowhere = 0, -1, -2
    nothing = [0, nowhere, 0, nowhere, nowhere, nowhere, nowhere]
    assert memory["what_is_said_of_managed_memory"] == {
        "new": nothing,
        "half": [1, device, 1, device, host, nowhere, host],
        "all": nothing,
        "again": nothing,
        "refused": [INVALID_VALUE] * 3,
    }


def test_captures(seen: Seen) -> None:
    assert seen["queries_while_another_thread_captures"] == {
        "global, global": [UNSUPPORTED, INVALIDATED] * 2,
        "global, relaxed": [0] * 4,
        "thread-local, global": [0] * 4,
    }
    assert seen["a_graph_in_capture_cannot_be_destroyed"] == [INVALID_VALUE, UNSUPPORTED, INVALIDATED, INVALID_VALUE, 0]
    work, back = True, True
    assert seen["a_joined_stream_may_be_destroyed"] == [[0, 0, 0], [work, 0, INVALIDATED], [work, back, 0]]


def test_names_that_came_later(seen: Seen) -> None:
    """A feature that no GPU here has, a name before and after its first version, and a second meaning from 13.0 on."""
    invalid_context, not_supported = 201, 801
    assert seen["later_names"] == {
        "cuGraphAddBatchMemOpNode 12000": [0, not_supported],
        "cuLogsCurrent 12080": [0, None],
        "cuLogsCurrent 12090": [0, not_supported],
        "cuCtxSynchronize 12090": invalid_context,
        "cuCtxSynchronize 13000": 0,
        "cuCtxGetDevice_v2": [0, 0],
    }


def test_user_objects(seen: Seen) -> None:
    after_graph, after_clone, after_executable = 0, 0, 1
    assert seen["user_objects_live_as_long_as_their_graphs"] == [after_graph, after_clone, after_executable]
