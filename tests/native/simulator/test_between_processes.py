"""What processes share, and do to each other: what programs/ saw."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, INVALID_HANDLE, ILLEGAL_STATE, NOT_READY = 1, 2, 201, 400, 401, 600


def run(machine: "Machine", program: str) -> Any:
    machine.create("--profile", "a100-40", "--driver-version", "610.43.02", "--cuda-version", "13.4")
    return machine.seen(program)


def test_events(machine: "Machine") -> None:
    """Each process waits for what the other recorded; what a dead one recorded holds nobody up."""
    assert run(machine, "event_ipc") == {
        "refused": [INVALID_HANDLE, INVALID_VALUE, INVALID_CONTEXT, INVALID_VALUE],
        "while closed": [NOT_READY, NOT_READY],
        "when open": [0, NOT_READY],
        "recorded there": NOT_READY,
        "after its death": 0,
    }


def test_checkpoints(machine: "Machine") -> None:
    """A checkpointed process has nothing on the GPU and makes no calls; restored, it goes on with what it had."""
    running, locked, checkpointed = 0, 1, 2
    assert run(machine, "checkpoint") == {
        "states": [running, locked, checkpointed, locked, running],
        "refused": [ILLEGAL_STATE, ILLEGAL_STATE, ILLEGAL_STATE, OUT_OF_MEMORY, INVALID_VALUE],
        "given back": 1024 + 409,
        "answered while locked": False,
        "value": 7,
        "restored": 0,
    }
