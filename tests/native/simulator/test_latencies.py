"""Launches, records and completions take time, unless latencies are off."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine


def measure(machine: "Machine") -> dict[str, int]:
    found: dict[str, int] = machine.seen("latencies")
    return found


def figures(machine: "Machine") -> dict[str, int]:
    shown: dict[str, Any] = json.loads(machine.command("show", "--json"))
    found: dict[str, int] = shown["latencies_ns"]
    return found


def test_small_things_take_the_time_in_the_table(machine: "Machine") -> None:
    machine.create()
    small, seen = figures(machine), measure(machine)
    assert seen["launch_ns"] >= small["launch"] > 0
    assert seen["record_ns"] >= small["record"] > 0
    assert seen["not_ready"] > 0


def test_events_of_an_idle_stream_are_ready_at_once_without_latencies(machine: "Machine") -> None:
    machine.create("--latencies", "off")
    assert set(figures(machine).values()) == {0}
    assert measure(machine)["not_ready"] == 0
    machine.command("set", "--latencies", "on")
    assert measure(machine)["not_ready"] > 0
