"""One machine for all processes: who sees what, and what is left of the dead."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

MIB = 1 << 20
RESERVED = 347  # MiB of an RTX 4090 that its driver keeps
USABLE = 24564 - RESERVED
CONTEXT = {"rtx4090": 362, "a100-40": 409}
NO_DEVICE, OUT_OF_MEMORY, NOT_INITIALIZED, INVALID_VALUE = 100, 2, 3, 1
GPU_IS_LOST, UNKNOWN = 15, 999


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.002)


def test_an_empty_folder_becomes_one_a100(machine: "Machine") -> None:
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("devices") == 1
    assert client.ask("info")[1] == (40960 - 423) * MIB
    assert sorted(path.name for path in machine.folder.iterdir()) == ["gpu0", "state"]


def test_many_processes_that_start_at_once_share_one_new_machine(machine: "Machine") -> None:
    clients = [machine.client() for _ in range(12)]
    for client in clients:
        client.begin("start")
    assert [client.answer() for client in clients] == [0] * 12
    assert len({tuple(client.ask("uuids")) for client in clients}) == 1
    assert len(clients[0].ask("nvml_processes")) == 12


def test_no_folder_and_no_default_is_no_driver(run_program: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    text = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
    result = run_program(text, UNIGPU_SIM_DIR="/proc/self/fdinfo/none/at/all")
    assert result.stdout.strip() == "802", result.stderr


def test_one_mebibyte_at_a_time_until_refused(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090")
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("info") == [(USABLE - CONTEXT["rtx4090"]) * MIB, USABLE * MIB]
    assert client.ask("fill", MIB) == (USABLE - CONTEXT["rtx4090"]) // 2 * 2  # the GPU hands out 2 MiB at a time
    assert client.ask("alloc", MIB) == OUT_OF_MEMORY
    assert client.ask("free_all") == 0
    assert client.ask("info")[0] == (USABLE - CONTEXT["rtx4090"]) * MIB


@pytest.mark.parametrize(
    ("threshold", "used"),
    [(0, [128, 0, 64, 64, 64]), (100, [128, 100, 100, 64, 64]), (1 << 20, [128, 128, 128, 64, 64])],
)
def test_a_pool_keeps_what_its_threshold_says(machine: "Machine", threshold: int, used: list[int]) -> None:
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("pool_uses", 64 * MIB, threshold * MIB) == [each * MIB for each in used]


def test_a_destroyed_pool_ends_with_its_last_allocation(machine: "Machine") -> None:
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("destroyed_pool_uses", 64 * MIB) == [INVALID_VALUE, 128 * MIB, 128 * MIB, 0]


@pytest.mark.parametrize(
    ("limit", "values", "used"),
    [
        ("stack", [2048, 1024, 3072], [128 * 1536 * 1024, 128 * 1536 * 1024, 2 * 128 * 1536 * 1024]),
        ("printf", [MIB, 2 * MIB, 9 * MIB], [0, 2 * MIB, 8 * MIB]),
        ("malloc", [64 * MIB, 8 * MIB, 64 * MIB], [56 * MIB, 56 * MIB, 56 * MIB]),
    ],
)
def test_a_contexts_limits_take_memory(machine: "Machine", limit: str, values: list[int], used: list[int]) -> None:
    machine.create("--profile", "rtx4090")
    client = machine.client()
    assert client.ask("start") == 0
    number = ["stack", "printf", "malloc"].index(limit)
    assert client.ask("limit_uses", number, values) == [[0, each] for each in used]
    assert client.ask("limit_uses", number, [1 << 40, (1 << 64) - 1]) == [[OUT_OF_MEMORY, 0]] * 2


def test_processes_see_each_others_use(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090")
    first, second = machine.client(), machine.client()
    assert first.ask("start") == second.ask("start") == 0
    assert first.ask("alloc", 4096 * MIB) == 0
    expected = (4096 + 2 * CONTEXT["rtx4090"]) * MIB
    assert second.ask("nvml_used") == expected + RESERVED * MIB
    assert second.ask("info")[0] == USABLE * MIB - expected
    assert second.ask("nvml_processes") == {
        str(first.process.pid): (4096 + CONTEXT["rtx4090"]) * MIB,
        str(second.process.pid): CONTEXT["rtx4090"] * MIB,
    }


def test_a_killed_process_gives_its_memory_back_at_once(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090")
    first, second = machine.client(), machine.client()
    assert first.ask("start") == second.ask("start") == 0
    assert first.ask("fill", 512 * MIB) > 40
    assert second.ask("alloc", 1024 * MIB) == OUT_OF_MEMORY
    first.kill()
    assert second.ask("alloc", 20480 * MIB) == 0
    assert list(second.ask("nvml_processes")) == [str(second.process.pid)]


def test_many_kills_leave_nothing(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090")
    watcher = machine.client()
    for _ in range(10):
        clients = [machine.client() for _ in range(4)]
        for client in clients:
            client.write('["start"]\n["fill", 3145728]\n')
        clients[0].answer()
        for client in clients:
            client.kill()
    assert watcher.ask("nvml_used") == RESERVED * MIB
    assert watcher.ask("nvml_processes") == {}


def test_a_forked_child_cannot_go_on(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090")
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("fork_and_init") == NOT_INITIALIZED * 10 + NOT_INITIALIZED
    assert list(client.ask("nvml_processes")) == [str(client.process.pid)]


def test_a_gpu_without_its_node_is_not_there(machine: "Machine") -> None:
    machine.create("--profile", "rtx4090", "--gpus", "4")
    everything = machine.client().ask("nvml_uuids")
    (machine.folder / "gpu0").unlink()
    (machine.folder / "gpu2").unlink()
    client = machine.client()
    assert client.ask("start") == 0
    assert client.ask("uuids") == client.ask("nvml_uuids") == [everything[1], everything[3]]
    assert client.ask("nvml_minor", 1) == 3
    (machine.folder / "gpu1").unlink()
    (machine.folder / "gpu3").unlink()
    bare = machine.client()
    assert bare.ask("init") == NO_DEVICE
    assert bare.ask("nvml_count") == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 3 ", [1, 3]),
        ("1,9,2", [1]),
        ("1,-1,2", [1]),
        ("", []),
        ("-1", []),
        ("2,2", []),
        ("{1},{0}", [1, 0]),
        ("{3:.12}", [3]),
        ("GPU-", []),
    ],
)
def test_cuda_visible_devices(machine: "Machine", value: str, expected: list[int]) -> None:
    machine.create("--profile", "rtx4090", "--gpus", "4", "--seed", "7")
    everything = machine.client().ask("nvml_uuids")
    client = machine.client(CUDA_VISIBLE_DEVICES=value.format(*everything))
    assert client.ask("nvml_uuids") == everything
    assert client.ask("init") == (0 if expected else NO_DEVICE)
    if expected:
        assert client.ask("uuids") == [everything[index] for index in expected]


def test_the_same_seed_makes_the_same_uuids(machine: "Machine") -> None:
    machine.create("--gpus", "2", "--seed", "5")
    first = machine.client().ask("nvml_uuids")
    machine.create("--gpus", "2", "--seed", "5", "--force")
    assert machine.client().ask("nvml_uuids") == first
    machine.create("--gpus", "2", "--force")
    assert set(machine.client().ask("nvml_uuids")).isdisjoint(first)


def test_pids_are_those_of_the_reader(machine: "Machine") -> None:
    """A process in a pid namespace of its own: the host sees its host pid, it sees its own, its neighbour nothing."""
    machine.create("--profile", "rtx4090")
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    inside, neighbour, outside = machine.client(*unshare), machine.client(*unshare), machine.client()
    assert inside.ask("start") == neighbour.ask("start") == 0
    assert inside.ask("pid") == 1
    assert list(inside.ask("nvml_processes")) == ["1"]
    seen = outside.ask("nvml_processes")
    assert len(seen) == 2
    for pid in seen:
        assert b"client.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert outside.ask("nvml_used") == (RESERVED + 2 * CONTEXT["rtx4090"]) * MIB
    inside.kill()
    wait_for(lambda: len(outside.ask("nvml_processes")) == 1)


def test_injected_faults(machine: "Machine") -> None:
    machine.create("--profile", "a100-40", "--gpus", "2")
    client = machine.client()
    assert client.ask("watch", 1, 0x8 | 0x2) == 0
    machine.command("inject", "--gpu", "0", "--xid", "31")
    machine.command("inject", "--gpu", "1", "--xid", "79")
    machine.command("inject", "--gpu", "1", "--ecc-uncorrected", "3")
    assert client.ask("wait_event", 5000) == [0, 0x8, 79]
    assert client.ask("wait_event", 5000) == [0, 0x2, 0]
    assert client.ask("wait_event", 1)[0] == 10
    machine.command("inject", "--gpu", "1", "--lost")
    assert client.ask("nvml_handle_status", 1) == GPU_IS_LOST
    assert "LOST" in machine.command("show")
    machine.command("reset")
    assert client.ask("nvml_handle_status", 1) == 0
    assert "LOST" not in machine.command("show")


def test_a_lost_gpu_is_lost_to_its_programs(machine: "Machine") -> None:
    """Whatever waits for the GPU returns at once, and what used it never can again, also when it is back."""
    machine.create("--profile", "a100-40", "--gpus", "2")
    client, other, late = machine.client(), machine.client(), machine.client()
    assert late.ask("init") == 0
    everything = late.ask("uuids")
    assert client.ask("start") == client.ask("load_spin") == client.ask("alloc", MIB) == 0
    assert other.ask("start", 1) == other.ask("load_spin") == 0
    assert client.ask("spin", 3600_000) == 0
    event = client.ask("record")
    client.begin("synchronize")
    machine.command("inject", "--gpu", "0", "--lost")
    assert client.answer() == UNKNOWN
    calls: list[tuple[str, *tuple[int, ...]]] = [("spin", 1), ("alloc", MIB), ("synchronize",), ("query", event)]
    assert {client.ask(*call) for call in [*calls, ("free_all",)]} == {UNKNOWN}
    assert late.ask("start") == UNKNOWN
    new = machine.client()
    assert new.ask("init") == 0
    assert new.ask("uuids") == everything[1:], "who begins now doesn't find it, and counts those left"
    assert other.ask("spin", 1) == other.ask("synchronize") == 0
    machine.command("inject", "--gpu", "0", "--found")
    assert {client.ask(*call) for call in calls} == {UNKNOWN}
    assert client.ask("renew") == client.ask("load_spin") == client.ask("spin", 1) == client.ask("synchronize") == 0
