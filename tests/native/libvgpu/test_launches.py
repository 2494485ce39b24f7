"""Every door of a launch is charged the GPU time that its kernels take, whatever the program does around it."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import Machine
from unigpu import names, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, Percent

LINKED = ("-Lbuild/simulator", "-l:libcuda.so.1")
MS = 1_000_000
DOORS = (
    *("plain", "plain-twin", "ex", "ex-twin", "cooperative", "cooperative-twin", "kernel", "graph", "graph-twin"),
    *("thread", "child", "reload", "update"),
)


def trial(machine: Machine, cores: int = 0, compute: ComputePolicy = ComputePolicy.HARD) -> dict[str, str]:
    """A container with that share of the first GPU's time; 0: not limited."""
    environment = machine.trial((0, 0))
    gpu = policy.GpuLimit(machine.uuids[0], Bytes(0), Percent(cores), Percent(cores))
    machine.policy_file.write_bytes(policy.pack(policy.Policy([gpu], False, cores > 0, compute)))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    return environment | {"CUDA_VISIBLE_DEVICES": "0"}


def charged(machine: Machine) -> usage.GpuTotals:
    return machine.read_usage().gpus[0]


@contextmanager
def program(
    machine: Machine, path: Path, *words: str | int, **environment: str
) -> Iterator[tuple["subprocess.Popen[str]", Mapping[str, int]]]:
    """Wait until the program says that the GPU has done everything. Yield it, waiting, and the numbers that it said."""
    started = machine.start(path, *map(str, words), **environment)
    said: dict[str, int] = {}
    try:
        assert started.stdout is not None
        while "done" not in said:
            line = started.stdout.readline().split()
            assert line, f"it ended: {started.communicate()}"
            said[line[0]] = int(line[1])
        yield started, said
        assert started.communicate("\n", timeout=60)[1] == ""
        assert started.returncode == 0
    finally:
        started.kill()
        started.communicate()


@pytest.fixture
def launches(compiled: Callable[..., Path]) -> Path:
    return compiled("launches", *LINKED)


@pytest.mark.parametrize("cores", [0, 60])
@pytest.mark.parametrize("door", DOORS)
def test_what_the_kernels_take_is_charged(machine: Machine, launches: Path, door: str, cores: int) -> None:
    with program(machine, launches, door, 20, 3 * MS, **trial(machine, cores)) as (_, said):
        pass
    gpu = charged(machine)
    due = said["done"] * 3 * MS
    assert due <= gpu.compute_ns + MS, "nothing escapes"
    assert gpu.compute_ns <= due * 1.2 + 5 * MS
    assert not gpu.waiting
    assert gpu.launches == said.get("launches", said["done"])
    if cores == 0:
        assert (gpu.waits, gpu.waited_ns) == (0, 0)
    else:
        assert 0 < gpu.waits <= said["done"]
        assert gpu.waited_ns > 0


@pytest.mark.parametrize("cores", [0, 60])
def test_short_ones_too(machine: Machine, launches: Path, cores: int) -> None:
    with program(machine, launches, "plain", 3000, 20_000, **trial(machine, cores)):
        pass
    assert charged(machine).compute_ns >= 0.95 * 60 * MS
    assert charged(machine).launches == 3000, "those of the fast path too"


def test_a_thread_that_ends_gives_back_what_it_took_ahead(machine: Machine, launches: Path) -> None:
    with program(machine, launches, "thread", 200, 50_000, **trial(machine)):
        deadline = time.monotonic() + 120
        while not 9 * MS <= (seen := charged(machine).compute_ns) <= 13 * MS:
            assert time.monotonic() < deadline, seen


def test_a_capture_has_the_programs_nodes_alone(machine: Machine, launches: Path) -> None:
    with program(machine, launches, "capture", 20, 3 * MS, **trial(machine)) as (_, said):
        assert said["nodes"] == 5
    assert charged(machine).compute_ns == pytest.approx(21 * 3 * MS, rel=0.2), "captured kernels haven't run"


def test_launches_are_measured_after_any_number_of_captures_at_once(machine: Machine, launches: Path) -> None:
    with program(machine, launches, "many-captures", 20, 3 * MS, **trial(machine)) as (_, said):
        pass
    assert charged(machine).compute_ns == pytest.approx(said["done"] * 3 * MS, rel=0.2)


def test_the_second_of_a_kind_waits_until_the_first_one_s_length_is_known(machine: Machine, launches: Path) -> None:
    with program(machine, launches, "second", 2, 100 * MS, **trial(machine, 70)) as (_, said):
        assert said["over"]


def test_few_kernels_of_unknown_length_are_let_in_behind_one_that_runs_for_long(
    machine: Machine, compiled: Callable[..., Path]
) -> None:
    said = machine.run(compiled("kinds", *LINKED), "4", str(500 * MS), **trial(machine, 60)).stdout.split()
    assert int(said[1]) <= 3, "the one that runs, one behind it, and one that it may wait for"


def test_the_gpu_of_a_launch_is_that_of_its_stream(machine: Machine, compiled: Callable[..., Path]) -> None:
    environment = machine.trial((0, 0), (1, 0))
    machine.usage_file.write_bytes(bytes(usage.SIZE))
    with program(machine, compiled("other_gpu", *LINKED), 20, 3 * MS, **environment):
        pass
    first, second = machine.read_usage(2).gpus[:2]
    assert first.compute_ns == pytest.approx(20 * 3 * MS, rel=0.2)
    assert second.compute_ns == 0
    assert (first.launches, second.launches) == (20, 0)


def test_launches_that_fail_cost_nothing(machine: Machine, launches: Path) -> None:
    with program(machine, launches, "failing", 1000, 3 * MS, **trial(machine, 10)):
        pass
    assert charged(machine).compute_ns < MS
    assert charged(machine).launches < 1000, "a driver that refuses at once has launched nothing"


def test_contexts_that_end_while_their_launches_are_measured(machine: Machine, launches: Path) -> None:
    with program(machine, launches, "contexts", 40, 300_000, **trial(machine)):
        pass


def test_the_environment_tightens(machine: Machine, launches: Path) -> None:
    environment = trial(machine) | {"CUDA_DEVICE_SM_LIMIT": "80"}
    with program(machine, launches, "plain", 40, 3 * MS, **environment) as (_, said):
        pass
    assert charged(machine).compute_ns == pytest.approx(said["done"] * 3 * MS, rel=0.2)
    looser = trial(machine, 60) | {"CUDA_DEVICE_SM_LIMIT": "90", names.ENV_LIBRARY_LOG: "none"}
    with program(machine, launches, "plain", 40, 3 * MS, **looser):
        pass
    assert charged(machine).waits > 0, "and never loosens"


def test_without_a_policy_the_environment_is_the_limit(machine: Machine, launches: Path) -> None:
    alone = {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(machine.usage_file)}
    with program(machine, launches, "plain", 40, 3 * MS, CUDA_DEVICE_SM_LIMIT_0="60", **alone):
        pass
    limited = charged(machine)
    assert limited.waits > 0
    with program(machine, launches, "plain", 40, 3 * MS, CUDA_DEVICE_SM_LIMIT="100", **alone):
        pass
    assert charged(machine).waits == limited.waits
    assert charged(machine).compute_ns > limited.compute_ns


@pytest.mark.parametrize("wrong", ["many", "-3", "101", "3.5"])
def test_an_environment_that_is_no_percentage(machine: Machine, launches: Path, wrong: str) -> None:
    done = machine.start(launches, "plain", "1", "1000", CUDA_DEVICE_SM_LIMIT=wrong, **trial(machine))
    complaint = done.communicate("\n", timeout=60)[1]
    assert f"CUDA_DEVICE_SM_LIMIT = {wrong}: not a percentage, so GPU memory is refused" in complaint
    assert done.returncode != 0


def test_a_process_killed_while_it_waits_delays_no_other(machine: Machine, launches: Path) -> None:
    environment = trial(machine, 50)
    waiting = [machine.start(launches, "plain", "100000", str(MS), **environment) for _ in range(3)]
    deadline = time.monotonic() + 60
    while charged(machine).waits < 20:
        assert time.monotonic() < deadline
    for each in waiting:
        each.kill()
        each.communicate()
    before = charged(machine).compute_ns
    with program(machine, launches, "plain", 40, 3 * MS, **environment):
        pass
    assert charged(machine).compute_ns > before
    assert not charged(machine).waiting, "their turns were skipped"


def test_a_changed_share_is_in_force_for_who_waits(machine: Machine, launches: Path) -> None:
    environment = trial(machine, 1)
    started = machine.start(launches, "plain", "40", str(50 * MS), **environment)
    deadline = time.monotonic() + 60
    while not charged(machine).waiting:
        assert time.monotonic() < deadline
    # At 1 % the rest would take minutes.
    gpu = policy.GpuLimit(machine.uuids[0], Bytes(0), Percent(0), Percent(0))
    content = policy.pack(policy.Policy([gpu], False, False), 2)
    with machine.policy_file.open("r+b") as file:
        file.write(content)
    said, complaint = started.communicate("\n", timeout=60)
    assert (said.split(), complaint) == (["done", "40"], "")
