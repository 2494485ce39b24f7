"""Rules of kernels' code, of graphs and of pools between processes: what programs/ saw."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

INVALID_VALUE, INVALID_CONTEXT, NOT_FOUND, OUT_OF_RESOURCES, NOT_SUPPORTED = 1, 201, 500, 701, 801


def run(machine: "Machine", program: str, **extra: str) -> dict[str, Any]:
    machine.create("--profile", "a100-40", "--driver-version", "610.43.02", "--cuda-version", "13.4")
    found: dict[str, Any] = machine.seen(program, **extra)
    return found


@pytest.fixture
def code(machine: "Machine") -> dict[str, Any]:
    return run(machine, "code_rules")


@pytest.fixture
def graphs(machine: "Machine") -> dict[str, Any]:
    return run(machine, "graph_rules")


def test_figures_of_code(code: dict[str, Any]) -> None:
    """Most threads, shared, constant and local bytes, registers, and dynamic shared memory without opting in."""
    unknown, default_shared = 32, 48 << 10
    assert code["figures_of_a_kernel"] == {
        "text": [1024, 100, 80, 0, unknown, default_shared - 100],
        "text with more": [128, 400, 80, 4096, unknown, default_shared - 400],
        "code": [256, 400, 80, 4096, 96, default_shared - 400],
    }
    assert code["blocks_of_too_many_threads"] == [INVALID_VALUE, 0, OUT_OF_RESOURCES, 0]


def test_stacks_grow_at_a_launch(code: dict[str, Any]) -> None:
    threads, more_kib_each = 108 * 2048, 16 - 4  # an earlier rule launched a kernel with 4 KiB
    assert code["stacks_grow_at_a_launch"] == [threads * more_kib_each >> 10, 0]


def test_code_is_loaded_at_its_first_launch(machine: "Machine") -> None:
    takes, beyond_the_context = run(machine, "code_rules")["code_takes_memory"], 8  # in steps of 2 MiB
    assert takes == [True, [0, beyond_the_context, 0, -beyond_the_context], [0, 1]]


def test_code_is_loaded_with_its_module_where_the_program_wants_that(machine: "Machine") -> None:
    takes = run(machine, "code_rules", CUDA_MODULE_LOADING="EAGER")["code_takes_memory"]
    assert takes == [False, [8, 0, 0, -8], [1, 1]]


def test_libraries_need_no_context(code: dict[str, Any]) -> None:
    offset, parameters = 8, 2
    assert code["libraries_without_a_context"] == [[0, 0], [INVALID_CONTEXT] * 3, [0, 0, 0], [offset, parameters], 0]


def test_code_for_the_linker(code: dict[str, Any]) -> None:
    assert code["code_for_the_linker"] == [0, NOT_FOUND, 0]


def test_conditional_nodes(graphs: dict[str, Any]) -> None:
    assert graphs["a_condition_chooses_a_graph"] == {
        "if, true": [1] * 2,
        "if, false": [0] * 2,
        "else": [2] * 2,
        "while, true": [1] * 2,
        "while, false": [0] * 2,
        "switch, 2": [3] * 2,
        "switch, beyond": [0] * 2,
    }
    assert graphs["wrong_conditions"] == [INVALID_VALUE] * 4


def test_graphs_that_own_memory(graphs: dict[str, Any]) -> None:
    moved, owned, same = 0, INVALID_VALUE, 1
    assert graphs["graphs_that_own_memory"] == [NOT_SUPPORTED] * 4 + [moved, owned, same, 0]


def test_what_is_told_of_nodes(graphs: dict[str, Any]) -> None:
    memory_node, mebibytes = 10, 2 << 20
    assert graphs["numbers_and_parameters_of_nodes"] == [True, [0, 1], True, memory_node, mebibytes]
    assert graphs["a_capture_tells_its_edges"] == [0, 1, 0]


def test_captures_into_graphs(graphs: dict[str, Any]) -> None:
    assert graphs["captures_into_graphs"] == {
        "after another graph's": INVALID_VALUE,
        "made executable": INVALID_VALUE,
        "graph and dependency": [True, True],
        "written": 4,
        "nodes after the stream": 2,
    }


def test_recaptures(graphs: dict[str, Any]) -> None:
    """The same nodes, with what differs told before it replaces the old; or an end, and a capture that is invalid."""
    data, second_node, eligible, failed, invalidated = 7, True, 0, 918, 901
    assert graphs["recaptures"] == {
        "another value": [0, 0, 0],
        "told": [[data, second_node, 2, 5, eligible]],
        "user objects": 1,
        "written": 5,
        "nodes": 2,
        "nobody listens": [0, 0, 0],
        "the program refuses": [0, failed, invalidated],
        "too few": [0, failed],
        "too many": [0, 0, failed, invalidated],
        "another kind": [failed, invalidated],
        "the same memory": [[0, 0], True],
        "other memory": [failed, invalidated],
    }


def test_a_stream_is_done_when_its_event_is(graphs: dict[str, Any]) -> None:
    assert graphs["a_stream_is_done_when_its_event_is"] == [0]


def test_core_dump_settings(graphs: dict[str, Any]) -> None:
    assert graphs["core_dump_settings"] == [True, "dump.%p", INVALID_VALUE]


def test_pools_between_processes(machine: "Machine") -> None:
    """The importer reads and writes at no cost, gets no memory of its own, and frees what it opened."""
    right = {
        "importer": {
            "values": [5, 6],
            "cost": 0,
            "refused": NOT_SUPPORTED,
            "after": [INVALID_VALUE, INVALID_VALUE],
            "pool": 0,
        },
        "written": [9, 9],
        "refused": [INVALID_VALUE, INVALID_VALUE, INVALID_VALUE],
    }
    assert run(machine, "pool_ipc") == {"device": right, "node": right}
