"""Kernels take time on the card, across processes; NVML shows it; the dead's queue goes with them."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Client, Machine


def begin(machine: "Machine") -> "Client":
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("load_spin") == 0
    return client


def test_kernels_of_two_processes_take_turns(machine: "Machine") -> None:
    first, second = begin(machine), begin(machine)
    assert first.ask("spin", 300) == 0
    began = time.monotonic()
    assert second.ask("spin", 50) == 0
    assert second.ask("synchronize") == 0
    assert time.monotonic() - began >= 0.2, "the second kernel ran beside one that holds the whole card"


def test_utilisation_follows(machine: "Machine") -> None:
    client = begin(machine)
    assert client.ask("nvml_utilisation") == 0
    assert client.ask("spin", 400) == 0
    assert client.ask("synchronize") == 0
    assert client.ask("nvml_utilisation") >= 50


def test_a_killed_process_takes_its_queue_with_it(machine: "Machine") -> None:
    first, second = begin(machine), begin(machine)
    assert first.ask("spin", 3600_000) == 0
    first.kill()
    assert second.ask("info")
    assert second.ask("spin", 1) == 0
    began = time.monotonic()
    assert second.ask("synchronize") == 0
    assert time.monotonic() - began < 60


def test_freeing_waits_for_the_work_that_may_use_it(machine: "Machine") -> None:
    client = begin(machine)
    assert client.ask("alloc", 1 << 20) == 0
    began = time.monotonic()
    assert client.ask("spin", 200) == 0
    assert client.ask("free_all") == 0
    assert time.monotonic() - began >= 0.2
