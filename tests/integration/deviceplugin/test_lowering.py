"""Limits lowered to make room: offered, in force, counted in the capacity, and given back, with kills in between."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import NODE, Machine, one, until
from tests.integration.deviceplugin.usage_writer import use
from unigpu import gpus, grants, lowering, names, policy, requests, usage
from unigpu.gpus import Gpu
from unigpu.lowering import Amounts, Lowerable
from unigpu.requests import ComputePolicy
from unigpu.units import MiB, Percent

GPU, TOTAL, CORES = 24576, 4 * 24576, 400
SOFT: dict[str, Any] = {"policy": ComputePolicy.SOFT, "ceiling": Percent(100)}
LOWERABLE, LOWERED, LIMITS = names.ANNOTATION_LOWERABLE, names.ANNOTATION_LOWERED, names.ANNOTATION_LIMITS


def run(machine: Machine, *more: str, pause: str = "0.5") -> None:
    machine.arguments = ["--shrink-before-evicting", "--shrink-pause", pause, *more]
    machine.run()


async def running(machine: Machine, name: str = "p", gpu: int = 0, memory: int = GPU) -> dict[str, Any]:
    pod = await machine.create(name, main=one(gpu, memory, 50, **SOFT))
    await machine.kubelet.prestart(pod, "main")
    return pod


def offered(machine: Machine) -> dict[str, tuple[Amounts, Amounts]]:
    annotations = machine.api.node(NODE)["metadata"].get("annotations") or {}
    node_gpus: tuple[Gpu, ...] = gpus.load(annotations[names.ANNOTATION_INVENTORY])
    found: tuple[Lowerable, ...] = lowering.load(annotations.get(LOWERABLE), node_gpus)
    return {one.pod: (one.now, one.least) for one in found}


def amounts(memory: int, cores: int) -> Amounts:
    return Amounts(MiB(memory), Percent(cores))


def capacity(machine: Machine) -> tuple[int, int]:
    found = machine.node_capacity
    return int(found[names.RESOURCE_MEMORY]), int(found[names.RESOURCE_CORES])


def annotations(machine: Machine, pod: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = machine.api.objects["pods"][f"default/{pod['metadata']['name']}"]["metadata"]["annotations"]
    return found


def in_force(machine: Machine, pod: dict[str, Any]) -> tuple[int, int, int]:
    """MiB, share and ceiling."""
    (gpu, *_) = policy.unpack((machine.folder(pod) / grants.POLICY_FILE).read_bytes()).gpus
    return gpu.memory >> 20, gpu.cores, gpu.ceiling


async def lower(machine: Machine, pod: dict[str, Any], memory: int, cores: int = 50, at: int | None = None) -> None:
    """As the scheduler's extender does."""
    present = json.loads(json.dumps(machine.api.objects["pods"][f"default/{pod['metadata']['name']}"]))
    found = present["metadata"]["annotations"]
    asked = requests.load(found[names.ANNOTATION_REQUEST]).containers
    changed = lowering.lower(
        found, asked, {"main": amounts(memory, cores)}, "default/urgent", int(time.time()) if at is None else at
    )
    assert changed is not None
    found |= changed
    await machine.api.put("pods", present)


def applied(machine: Machine, pod: dict[str, Any]) -> str | None:
    return annotations(machine, pod).get(names.ANNOTATION_LIMITS_APPLIED)


def told(machine: Machine) -> list[tuple[str, str]]:
    events = machine.api.objects["events"].values()
    return [(event["reason"], event["message"]) for event in events if event["reason"].startswith("Limits")]


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def program(file: Path, mib: int) -> Iterator[None]:
    """A program that holds so much memory while the block lasts."""
    use(file, mib)
    with Popen([sys.executable, "-c", HOLD, str(file), str(usage.LOCKS_OFFSET)], stdin=PIPE, stdout=PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        try:
            yield
        finally:
            started.kill()


async def test_what_a_container_does_not_hold_is_offered(machine: Machine) -> None:
    run(machine)
    await machine.serving()
    pod = await running(machine)
    uid = pod["metadata"]["uid"]
    await until(lambda: offered(machine) == {uid: (amounts(GPU, 50), amounts(3072, 5))}, "an idle one keeps a step")
    with program(machine.folder(pod) / grants.USAGE_FILE, 10_000):
        await until(lambda: offered(machine) == {uid: (amounts(GPU, 50), amounts(15360, 5))}, "what it holds is kept")
    machine.terminate()
    machine.arguments = []
    machine.run()
    await until(lambda: LOWERABLE not in machine.api.node(NODE)["metadata"]["annotations"], "nothing, if switched off")


async def test_lowered_counted_and_given_back(machine: Machine) -> None:
    run(machine, pause="1000")
    await machine.serving()
    pod = await running(machine)
    await lower(machine, pod, 8192, 10)
    await until(lambda: applied(machine, pod) == '{"main":{"cores":10,"memory":8192}}', "lower limits are in force")
    await until(lambda: capacity(machine) == (TOTAL + GPU - 8192, CORES + 40), "the node's capacity counts them")
    assert in_force(machine, pod) == (8192, 10, 100)
    urgent = await machine.create("urgent", main=one(0, GPU - 8192, 90))
    await machine.kubelet.prestart(urgent, "main")
    (_, said) = told(machine)[0]
    assert "memory 24576 -> 8192 MiB" in said
    assert said.endswith("lowered to make room for pod default/urgent, and given back when there is room")
    machine.kill()
    run(machine)
    await machine.remove(urgent)
    await until(lambda: LOWERED not in annotations(machine, pod), "given back once there is room")
    assert LIMITS not in annotations(machine, pod)
    await until(lambda: in_force(machine, pod) == (GPU, 50, 100), "in force again")
    await until(lambda: capacity(machine) == (TOTAL, CORES), "the node's capacity is its own again")
    assert "memory 8192 -> 24576 MiB" in told(machine)[-1][1]


@pytest.mark.parametrize("shrinking", [True, False], ids=["shrinking", "switched off since"])
async def test_an_agent_that_was_killed_goes_on(machine: Machine, shrinking: bool) -> None:
    """Before limits are in force, and after; the capacity is never less than what the kubelet's pods ask for."""
    run(machine, pause="1000")
    await machine.serving()
    pod = await running(machine)
    machine.kill()
    await lower(machine, pod, 8192)
    run(machine, pause="1000")
    await until(lambda: capacity(machine)[0] == TOTAL + GPU - 8192, "put in force by the next agent")
    urgent = await machine.create("urgent", main=one(0, GPU - 8192))
    await machine.kubelet.prestart(urgent, "main")
    machine.kill()
    seen = len(machine.api.node_patches)
    machine.arguments = ["--shrink-pause", "0.5", *(["--shrink-before-evicting"] if shrinking else [])]
    machine.run()
    await machine.serving()
    await machine.remove(urgent)
    await until(lambda: LOWERED not in annotations(machine, pod), "given back by the next agent")
    await until(lambda: capacity(machine) == (TOTAL, CORES), "the node's capacity is its own again")
    sizes = [
        int(patch["status"]["capacity"][names.RESOURCE_MEMORY])
        for patch in machine.api.node_patches[seen:]
        if names.RESOURCE_MEMORY in (patch.get("status") or {}).get("capacity", {})
    ]
    assert sizes == [TOTAL], "not reduced before the pods were known"


async def test_a_container_that_holds_more_keeps_its_limits(machine: Machine) -> None:
    run(machine, pause="1000")
    await machine.serving()
    pod = await running(machine)
    with program(machine.folder(pod) / grants.USAGE_FILE, 9000):
        await lower(machine, pod, 8192)
        await until(lambda: told(machine), "the refusal is written")
        reason, said = told(machine)[0]
        assert reason == names.EVENT_LIMITS_REFUSED
        assert "make room for pod default/urgent" in said
        assert "9000 of 8192 MiB" in said
        assert in_force(machine, pod)[0] == GPU
        assert capacity(machine)[0] == TOTAL
        machine.kill()
        run(machine)
        await until(lambda: LOWERED not in annotations(machine, pod), "the record goes, with the limits")
    assert LIMITS not in annotations(machine, pod)
    assert in_force(machine, pod)[0] == GPU


async def test_limits_that_somebody_changed_since_are_theirs(machine: Machine) -> None:
    run(machine, pause="1000")
    await machine.serving()
    pod = await running(machine)
    await lower(machine, pod, 8192)
    await until(lambda: capacity(machine)[0] == TOTAL + GPU - 8192, "in force")
    present = json.loads(json.dumps(machine.api.objects["pods"]["default/p"]))
    present["metadata"]["annotations"][LIMITS] = "memory=4Gi"
    await machine.api.put("pods", present)
    await until(lambda: LOWERED not in annotations(machine, pod), "the record is dropped")
    await until(lambda: in_force(machine, pod)[0] == 4096, "their limits are in force")
    assert annotations(machine, pod)[LIMITS] == "memory=4Gi"
    await until(lambda: capacity(machine)[0] == TOTAL, "such limits free nothing of the node's totals")


async def test_the_first_that_was_lowered_is_the_first_to_get_its_own_back(machine: Machine) -> None:
    run(machine, pause="1000")
    await machine.serving()
    first, second = [await running(machine, name, memory=12288) for name in ("first", "second")]
    now = int(time.time())
    await lower(machine, second, 4096, at=now)
    await lower(machine, first, 4096, at=now - 5)
    await until(lambda: capacity(machine)[0] == TOTAL + 16384, "both are in force")
    urgent = await machine.create("urgent", main=one(0, 8192))
    await machine.kubelet.prestart(urgent, "main")
    machine.kill()
    run(machine)
    await until(lambda: LOWERED not in annotations(machine, first), "there is room for one")
    await until(lambda: in_force(machine, first)[0] == 12288, "it is in force")
    assert LOWERED in annotations(machine, second)
    await machine.remove(urgent)
    await until(lambda: LOWERED not in annotations(machine, second), "then for the other")


async def test_an_offer_of_the_same_containers_is_not_renewed_all_the_time(machine: Machine) -> None:
    run(machine, pause="2")
    await machine.serving()
    pod = await running(machine)
    await until(lambda: offered(machine), "offered")
    file = machine.folder(pod) / grants.USAGE_FILE
    start = time.monotonic()
    writes = len(machine.api.node_patches)
    for mib in range(1000, 21_000, 250):
        use(file, mib)
        await machine.api.put("pods", json.loads(json.dumps(machine.api.objects["pods"]["default/p"])))
    await until(lambda: offered(machine)[pod["metadata"]["uid"]][1].memory == GPU, "the last amount is published")
    elapsed = time.monotonic() - start
    assert len(machine.api.node_patches) - writes <= 1 + elapsed / 2
