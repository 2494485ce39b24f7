"""Kernels take time on the GPU, processes take turns on it; NVML shows it; the dead's queue goes with them."""

import json
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Client, Machine

NOT_READY = 600


def begin(machine: "Machine") -> "Client":
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("load_spin") == 0
    return client


def busy(machine: "Machine") -> tuple[float, dict[int, float]]:
    """Seconds that the GPU was busy so far, and each process on it by pid."""
    gpu = json.loads(machine.command("show", "--json"))["gpus"][0]
    return gpu["busy_ns"] / 1e9, {process["pid"]: process["busy_ns"] / 1e9 for process in gpu["processes"]}


def wait_until_busy(machine: "Machine", seconds: float) -> tuple[float, dict[int, float]]:
    deadline = time.monotonic() + 60
    while (seen := busy(machine))[0] < seconds:
        assert time.monotonic() < deadline, seen
    return seen


def test_a_long_kernel_shares_the_gpu_with_another_process(machine: "Machine") -> None:
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


def test_a_process_that_was_stopped_has_its_part_later(machine: "Machine") -> None:
    clients = [begin(machine) for _ in range(3)]
    for client in clients:
        assert client.ask("spin_often", 1000, 3000) == 0
    began, before = busy(machine)
    clients[0].process.send_signal(signal.SIGSTOP)
    wait_until_busy(machine, began + 0.4)
    clients[0].process.send_signal(signal.SIGCONT)
    ended, after = wait_until_busy(machine, began + 1.6)
    parts = [(after[pid] - before[pid]) / (ended - began) for pid in before]
    assert all(0.28 < part < 0.39 for part in parts), parts


def test_a_short_kernel_does_not_wait_for_a_deep_queue(machine: "Machine") -> None:
    first, second = begin(machine), begin(machine)
    assert first.ask("spin_often", 1000, 2000) == 0
    assert second.ask("timed_spin", 1, 100) < 100
    assert first.ask("query", first.ask("record")) == NOT_READY


def test_a_deep_queue_of_one_process_loses_nothing(machine: "Machine") -> None:
    client = begin(machine)
    client.ask("hold")
    assert client.ask("timed_spin", 200, 2000) < 440


def test_a_process_that_is_stopped_loses_nothing_of_what_it_has_queued(machine: "Machine") -> None:
    first, second = begin(machine), begin(machine)
    before, after = first.ask("timed_spins", 200, 1000)
    first.process.send_signal(signal.SIGSTOP)
    # Where it held a lock that the other needs, the other goes on with it.
    goes_on = threading.Timer(0.3, first.process.send_signal, [signal.SIGCONT])
    goes_on.start()
    others = 0
    while goes_on.is_alive():
        others += second.ask("timed_spin", 1, 500) > 0
        time.sleep(0.01)  # so that the GPU is idle in between
    goes_on.join()
    assert 200 <= first.ask("elapsed", before, after) < 200 + others * 0.5 + 20


def test_launches_wait_when_a_stream_is_full(machine: "Machine") -> None:
    client = begin(machine)
    assert client.ask("spin_often", 70, 500) == 0
    early = client.ask("record")
    assert client.ask("spin_often", 1024 + 6, 500) == 0
    late = client.ask("record")
    assert (client.ask("query", early), client.ask("query", late)) == (0, NOT_READY)


@pytest.mark.parametrize(
    ("profile", "grid", "block", "shared", "waves"),
    [
        ("t4", 1, 256, 0, 1),
        ("t4", 160, 256, 0, 1),
        ("t4", 161, 256, 0, 2),
        ("t4", 65_536, 1024, 0, 1639),
        ("a40", 84 * 16, 64, 0, 1),
        ("a40", 84 * 16 + 1, 64, 0, 2),
        ("a40", 84 * 2 + 1, 64, 48 << 10, 2),
        ("rtxpro6000", 188 * 6, 256, 0, 1),
        ("rtxpro6000", 188 * 6 + 1, 256, 0, 2),
        ("rtxpro6000", 65_536, 1024, 0, 349),
    ],
)
def test_a_grid_takes_its_waves(
    machine: "Machine", profile: str, grid: int, block: int, shared: int, waves: int
) -> None:
    machine.create("--profile", profile)
    wave_us = 100_000 // waves
    taken = begin(machine).ask("timed_work", grid, block, shared, wave_us, 1) * 1000 / wave_us
    assert 0.999 * waves < taken < 1.4 * waves


def test_small_grids_run_side_by_side(machine: "Machine") -> None:
    client = begin(machine)
    assert client.ask("timed_work", 108, 1024, 0, 200_000, 2) < 390
    assert client.ask("timed_work", 109, 1024, 0, 200_000, 2) > 399.9


def test_small_grids_of_two_processes_take_turns(machine: "Machine") -> None:
    clients = begin(machine), begin(machine)
    threads = [threading.Thread(target=client.ask, args=("timed_work", 1, 32, 0, 200_000, 1)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gpu, processes = busy(machine)
    # Each holds the GPU for 0.1 s first.
    assert gpu == pytest.approx(sum(processes.values())), "never both at once"
    assert gpu == pytest.approx(0.6)


def test_small_grids_of_two_processes_run_side_by_side_under_mps(machine: "Machine") -> None:
    machine.create("--profile", "a100-40")
    machine.command("set", "--mps", "on")
    clients = begin(machine), begin(machine)
    threads = [threading.Thread(target=client.ask, args=("timed_work", 1, 32, 0, 2_000_000, 1)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gpu, processes = busy(machine)
    assert sum(processes.values()) == pytest.approx(4.2), "each has what it asked for"
    assert gpu < 3.5, "for a part of the time both at once"


def test_small_grids_run_side_by_side_beside_another_process(machine: "Machine") -> None:
    client, other = begin(machine), begin(machine)
    assert other.ask("spin_often", 1000, 2000) == 0
    before = busy(machine)[1][client.process.pid]
    assert client.ask("timed_work", 1, 32, 0, 200_000, 4) > 0
    assert busy(machine)[1][client.process.pid] - before < 0.6, "0.3 s side by side, 0.9 one after another"


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
