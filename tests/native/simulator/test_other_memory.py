"""Memory and semaphores of other APIs, and multicast objects: what programs/other_memory.py saw."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

INVALID_VALUE, INVALID_DEVICE, INVALID_HANDLE, NOT_READY, NOT_SUPPORTED = 1, 101, 400, 600, 801


def run(machine: "Machine", profile: str, gpus: str) -> Any:
    machine.create("--profile", profile, "--gpus", gpus, "--driver-version", "610.43.02", "--cuda-version", "13.4")
    return machine.seen("other_memory")


def test_memory_and_semaphores_of_other_apis(machine: "Machine") -> None:
    seen = run(machine, "a100-40", "1")
    written, cost, usable = 7, 0, 0
    refused = [NOT_SUPPORTED, INVALID_VALUE, INVALID_HANDLE, INVALID_VALUE]
    assert seen["memory_of_another_api"] == [written, cost, usable, [0, INVALID_VALUE], refused]
    assert seen["semaphores_of_another_api"] == {
        "binary, stream": [NOT_READY, 0, 1],
        "binary, graph": [NOT_READY, 0, 1],
        "timeline, stream": [NOT_READY, 0, 6],
        "timeline, graph": [NOT_READY, 0, 6],
    }
    assert seen["multicast_objects"] == {"supported": [0, NOT_SUPPORTED]}


def test_graphs_have_nodes_for_semaphores(machine: "Machine") -> None:
    """One node for all semaphores of a call. Their number in an executable graph can't change."""
    signal, wait = 8, 9
    assert run(machine, "a100-40", "1")["semaphores_as_nodes"] == {
        "types": [signal, wait],
        "signalled": [3, 4],
        "told": [2, [3, 4], [True, True]],
        "told of any": [wait, 2],
        "changed when ready": [5, 6],
        "general": signal,
        "refused": [INVALID_VALUE, INVALID_VALUE, INVALID_HANDLE, INVALID_VALUE],
        "captured": 1,
    }


def test_multicast_objects(machine: "Machine") -> None:
    """GPUs that a switch joins: a third in a team of two, memory of a stranger, a place twice, and beyond the end."""
    supported, bytes_each, mib_while_bound, mib_after = 1, 2 << 20, 4, 0
    assert run(machine, "h100", "4")["multicast_objects"] == {
        "supported": [supported, 0, bytes_each],
        "joining": [0, INVALID_VALUE, 0, INVALID_VALUE],
        "binding": [0, INVALID_VALUE, 0, INVALID_DEVICE, INVALID_VALUE],
        "held": [mib_while_bound, mib_after],
        "unbound": [INVALID_VALUE, 0],
        "released": 0,
    }
