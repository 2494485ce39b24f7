"""Kernels take time on the card, processes take turns on it; NVML shows it; the dead's queue goes with them."""

import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Client, Machine

NOT_READY = 600


def begin(machine: "Machine") -> "Client":
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("load_spin") == 0
    return client


def busy(machine: "Machine") -> tuple[float, dict[int, float]]:
    """Seconds that the card was busy so far, and each process on it by pid."""
    gpu = json.loads(machine.command("show", "--json"))["gpus"][0]
    return gpu["busy_ns"] / 1e9, {process["pid"]: process["busy_ns"] / 1e9 for process in gpu["processes"]}


def wait_until_busy(machine: "Machine", seconds: float) -> tuple[float, dict[int, float]]:
    deadline = time.monotonic() + 60
    while (seen := busy(machine))[0] < seconds:
        assert time.monotonic() < deadline, seen
    return seen


def test_a_long_kernel_shares_the_card_with_another_process(machine: "Machine") -> None:
    first, second = begin(machine), begin(machine)
    assert first.ask("spin", 5000) == 0
    alone, together = 50, second.ask("timed_spin", 1, 50_000)
    assert 1.4 * alone < together < 10 * alone


def test_processes_with_deep_queues_get_equal_parts(machine: "Machine") -> None:
    clients = [begin(machine) for _ in range(3)]
    for client in clients:
        assert client.ask("spin_often", 1000, 2000) == 0
    began, before = busy(machine)
    ended, after = wait_until_busy(machine, began + 1)
    parts = [(after[pid] - before[pid]) / (ended - began) for pid in before]
    assert len(parts) == 3
    assert sum(parts) == pytest.approx(1, abs=0.03)
    assert all(0.24 < part < 0.43 for part in parts), parts


def test_a_short_kernel_does_not_wait_for_a_deep_queue(machine: "Machine") -> None:
    first, second = begin(machine), begin(machine)
    assert first.ask("spin_often", 1000, 2000) == 0
    assert second.ask("timed_spin", 1, 100) < 100
    assert first.ask("query", first.ask("record")) == NOT_READY


def test_a_deep_queue_of_one_process_loses_nothing(machine: "Machine") -> None:
    client = begin(machine)
    assert 400 <= client.ask("timed_spin", 200, 2000) < 440


def test_launches_wait_when_a_stream_is_full(machine: "Machine") -> None:
    client = begin(machine)
    assert client.ask("spin_often", 70, 500) == 0
    early = client.ask("record")
    assert client.ask("spin_often", 1024 + 6, 500) == 0
    late = client.ask("record")
    assert (client.ask("query", early), client.ask("query", late)) == (0, NOT_READY)


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
