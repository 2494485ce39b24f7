"""A program whose environment names a limit above its container's asks the node agent, and waits for the answer."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.native.libvgpu.machine import LIBRARY, PROBE, Machine, mib
from unigpu import names, policy, usage, wishes
from unigpu.requests import ComputePolicy
from unigpu.units import GpuUuid, Percent
from unigpu.wishes import Wish
from unigpu_node import policy_file

INSIDE = f"""
mount -t tmpfs none /usr/local && mkdir -p {names.CONTAINER_ROOT} && cp {LIBRARY} {names.CONTAINER_ROOT}/ || exit 9
for file in policy usage; do
    touch {names.CONTAINER_ROOT}/$file && mount --bind "$FILES/$file" {names.CONTAINER_ROOT}/$file || exit 9
done
export LD_PRELOAD={names.CONTAINER_LIBRARY}
eval "$PROGRAM"
"""
ABOVE = {"CUDA_DEVICE_MEMORY_LIMIT_0": "3000m", "HOSTNAME": "trainer-0"}
PATIENCE = 60.0


class Agent:
    """The node agent's side: answers every wish in a thread, as `decide` says; its refusal, or None for no answer."""

    def __init__(self, machine: Machine, decide: Callable[[Wish], str | None]) -> None:
        self.seen: list[Wish] = []
        self._machine, self._decide, self._stop = machine, decide, threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(0.01):
            with self._machine.usage_file.open("rb") as file:
                wish = wishes.unpack(os.pread(file.fileno(), wishes.WISH_SIZE, wishes.WISH_OFFSET), 1)
            if wish is None or (self.seen and self.seen[-1].number == wish.number):
                continue
            self.seen.append(wish)
            refusal = self._decide(wish)
            if refusal is not None:
                policy_file.answer(self._machine.policy_file, wish.number, refusal)


@pytest.fixture
def agent(machine: Machine) -> Iterator[Callable[[Callable[[Wish], str | None]], Agent]]:
    running: list[Agent] = []

    def start(decide: Callable[[Wish], str | None]) -> Agent:
        running.append(Agent(machine, decide))
        return running[-1]

    machine.usage_file.write_bytes(bytes(usage.SIZE))
    yield start
    for one in running:
        one.close()


def write(machine: Machine, memory: int, cores: int = 0) -> None:
    """The container's policy, as the node agent writes it, in place."""
    limit = policy.GpuLimit(GpuUuid(machine.uuids[0]), mib(memory), Percent(cores), Percent(cores))
    kind = ComputePolicy.HARD if cores else ComputePolicy.UNLIMITED
    wanted = policy.Policy([limit], True, bool(cores), kind)
    if machine.policy_file.exists():
        policy_file.rewrite(machine.policy_file, wanted)
    else:
        policy_file.create(machine.policy_file, wanted)


def inside(
    machine: Machine, program: str = f"{PROBE} --no-take", **environment: str
) -> "subprocess.CompletedProcess[str]":
    return machine.without_libvgpu().attempt(
        *("unshare", "--mount", "--map-root-user", "sh", "-c", INSIDE),
        CUDA_VISIBLE_DEVICES="0",
        FILES=str(machine.folder),
        PROGRAM=program,
        **environment,
    )


def total(said: str) -> list[int]:
    return [json.loads(line)["gpus"][0]["total_bytes"] for line in said.splitlines()]


Start = Callable[[Callable[[Wish], str | None]], Agent]


def grant(machine: Machine) -> Callable[[Wish], str]:
    def decide(wish: Wish) -> str:
        write(machine, wish.memory[0])
        return ""

    return decide


def test_a_granted_wish_is_in_force_at_the_first_call(machine: Machine, agent: Start) -> None:
    write(machine, 2000)
    asked = agent(grant(machine))
    done = inside(machine, **ABOVE)
    assert (done.returncode, total(done.stdout)) == (0, [mib(3000)])
    assert [list(wish.memory) for wish in asked.seen] == [[3000]]
    assert "CUDA_DEVICE" not in done.stderr
    assert total(inside(machine).stdout) == [mib(3000)], "a raise is for the container, not for the program"


def test_a_refused_wish_says_why_and_what_would_work(machine: Machine, agent: Start) -> None:
    write(machine, 2000)
    agent(lambda wish: "GPU 0 has 50 MiB free; accepted: up to 2050 MiB")
    done = inside(machine, **ABOVE)
    assert total(done.stdout) == [mib(2000)]
    (line,) = (line for line in done.stderr.splitlines() if "CUDA_DEVICE_MEMORY_LIMIT" in line)
    said = "CUDA_DEVICE_MEMORY_LIMIT = 3000 MiB: not granted: GPU 0 has 50 MiB free; accepted: up to 2050 MiB"
    assert line.endswith(said)


def test_without_an_agent_the_program_goes_on_after_two_seconds_and_says_so(machine: Machine, agent: Start) -> None:
    write(machine, 2000, 30)
    agent(lambda wish: None)
    began = time.monotonic()
    done = inside(machine, CUDA_DEVICE_SM_LIMIT="50", **ABOVE)
    assert time.monotonic() - began >= 2
    assert total(done.stdout) == [mib(2000)]
    line = next(line for line in done.stderr.splitlines() if "CUDA_DEVICE_MEMORY_LIMIT" in line)
    assert "CUDA_DEVICE_MEMORY_LIMIT = 3000 MiB CUDA_DEVICE_SM_LIMIT = 50 %: above the container's limits" in line
    assert line.endswith("from outside: kubectl unigpu limit trainer-0 --memory 3000 --cores 50")


@pytest.mark.parametrize(
    "environment",
    [
        {"CUDA_DEVICE_MEMORY_LIMIT": "2000m", "CUDA_DEVICE_SM_LIMIT": "30"},
        {"CUDA_DEVICE_MEMORY_LIMIT": "1000m", "CUDA_DEVICE_SM_LIMIT": "10"},
        {"CUDA_DEVICE_MEMORY_LIMIT_3": "3000m"},
        {"CUDA_DEVICE_MEMORY_LIMIT": "3000m", "UNIGPU_INJECTED_LIMITS": "CUDA_DEVICE_MEMORY_LIMIT=3000m"},
    ],
)
def test_nobody_is_asked_for_what_the_container_has(
    machine: Machine, agent: Start, environment: dict[str, str]
) -> None:
    write(machine, 2000, 30)
    asked = agent(lambda wish: "")
    assert inside(machine, **environment).returncode == 0
    assert asked.seen == []


def test_a_share_of_compute_time_is_asked_for_too(machine: Machine, agent: Start) -> None:
    write(machine, 2000, 30)
    asked = agent(lambda wish: "")
    inside(machine, CUDA_DEVICE_SM_LIMIT="50")
    assert [(list(wish.memory), list(wish.cores)) for wish in asked.seen] == [([0], [50])]


def test_many_programs_at_once_ask_one_after_another(machine: Machine, agent: Start) -> None:
    write(machine, 2000)
    asked = agent(grant(machine))
    programs = "; ".join(f"{PROBE} --no-take >{machine.folder}/said-{number} &" for number in range(8)).replace(
        "&;", "&"
    )
    done = inside(machine, f"{programs} wait", **ABOVE)
    assert done.returncode == 0, done.stderr
    said = [(machine.folder / f"said-{number}").read_text() for number in range(8)]
    assert [total(text) for text in said] == [[mib(3000)]] * 8
    assert len(asked.seen) == 1, "those that waited find it granted"


def test_a_program_that_is_killed_while_it_waits_doesnt_keep_others_waiting(machine: Machine, agent: Start) -> None:
    write(machine, 2000)
    first = threading.Event()

    def decide(wish: Wish) -> str | None:
        if not first.is_set():
            first.set()
            return None
        return grant(machine)(wish)

    asked = agent(decide)
    killed = f"{PROBE} --no-take >/dev/null & sleep 0.5; kill -9 $!; {PROBE} --no-take"
    done = inside(machine, killed, **ABOVE)
    assert total(done.stdout) == [mib(3000)]
    assert len(asked.seen) == 2
