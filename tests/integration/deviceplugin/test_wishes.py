"""What a container's program asks for from inside: granted, refused with a reason, and bounded, by the agent itself."""

import asyncio
import json
import os
import struct
import time
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import Machine, one, share, until
from unigpu import names, policy, wishes
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent

GIB = 1 << 30


def write(machine: Machine, pod: dict[str, Any], *gpus: tuple[int, int], number: int | None = None) -> int:
    """As libvgpu does: (bytes, percent) by GPU; returns the number."""
    number = time.monotonic_ns() if number is None else number
    amounts = b"".join(struct.pack("<QI4x", *gpu) for gpu in gpus)
    descriptor = os.open(machine.folder(pod) / "usage", os.O_RDWR)
    try:
        os.pwrite(descriptor, bytes(8), wishes.WISH_OFFSET)
        os.pwrite(descriptor, amounts, wishes.WISH_OFFSET + 16)
        os.pwrite(descriptor, struct.pack("<Q", number), wishes.WISH_OFFSET)
    finally:
        os.close(descriptor)
    return number


def answer(machine: Machine, pod: dict[str, Any], number: int) -> tuple[bool, str] | None:
    found, granted, text = wishes.read_answer((machine.folder(pod) / "policy").read_bytes())
    return (granted, text) if found == number else None


async def ask(machine: Machine, pod: dict[str, Any], *gpus: tuple[int, int]) -> tuple[bool, str]:
    """Ask, and wait for the answer. On a busy machine nobody may answer in time: the next program then asks again."""
    numbers = [write(machine, pod, *gpus)]

    def answered() -> bool:
        if answer(machine, pod, numbers[-1]) is not None:
            return True
        if time.monotonic_ns() > numbers[-1] + 2 * wishes.PATIENCE_NS:
            numbers.append(write(machine, pod, *gpus))
        return False

    await until(answered, "an answer")
    found = answer(machine, pod, numbers[-1])
    assert found is not None
    return found


def annotation(machine: Machine, pod: dict[str, Any], name: str = names.ANNOTATION_LIMITS) -> str | None:
    present = machine.api.objects["pods"][f"default/{pod['metadata']['name']}"]
    text: str | None = present["metadata"]["annotations"].get(name)
    return text


def memory(machine: Machine, pod: dict[str, Any]) -> int:
    found = policy.unpack((machine.folder(pod) / "policy").read_bytes())
    return found.gpus[0].memory >> 20


async def started(machine: Machine, name: str = "p", mib: int = 4096, cores: int = 0, **more: Any) -> dict[str, Any]:
    pod = await machine.create(name, main=one(0, mib, cores, **more))
    await machine.kubelet.prestart(pod, "main")
    return pod


async def test_a_raise_is_in_force_when_it_is_answered(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await started(machine)
    number = write(machine, pod, (6 * GIB, 0))
    await until(lambda: answer(machine, pod, number) is not None, "an answer")
    assert answer(machine, pod, number) == (True, "")
    assert memory(machine, pod) == 6144
    assert annotation(machine, pod) == '{"main":{"memory":6144}}'
    assert annotation(machine, pod, names.ANNOTATION_LIMITS_APPLIED) == '{"main":{"memory":6144}}'
    said = [event["message"] for event in machine.api.objects["events"].values()]
    assert "main: memory 4096 -> 6144 MiB" in said
    writes = len(machine.api.patches)
    assert await ask(machine, pod, (5 * GIB, 0)) == (True, ""), "within what the container has by now"
    assert (memory(machine, pod), len(machine.api.patches)) == (6144, writes)


async def test_compute_time_raises_the_share_or_the_ceiling(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    hard = await started(machine, "hard", cores=30, policy=ComputePolicy.HARD)
    assert await ask(machine, hard, (0, 40)) == (True, "")
    assert annotation(machine, hard) == '{"main":{"cores":40}}'
    soft = await started(machine, "soft", cores=30, policy=ComputePolicy.SOFT, ceiling=Percent(50))
    assert await ask(machine, soft, (0, 80)) == (True, "")
    assert annotation(machine, soft) == '{"main":{"ceiling":80}}'


async def test_refused_with_what_would_do(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await started(machine, "p", 4096, 50)
    await started(machine, "q", 16384, 40)
    why = "memory = 8704 MiB: GPU 0 has 8192 of 24576 MiB free for this container; accepted: up to 8192 MiB"
    assert await ask(machine, pod, (8704 << 20, 0)) == (False, f"{why} (CUDA_DEVICE_MEMORY_LIMIT=8192m)")
    granted, said = await ask(machine, pod, (0, 70))
    assert (granted, "accepted: up to 60 % (CUDA_DEVICE_SM_LIMIT=60)" in said) == (False, True)
    machine.api.limits_refused = "container main: memory = 6144 MiB: exceeds this namespace's maximum"
    assert await ask(machine, pod, (6 * GIB, 0)) == (False, machine.api.limits_refused)
    assert (annotation(machine, pod), memory(machine, pod)) == (None, 4096)


async def test_where_the_chart_only_lets_programs_tighten(machine: Machine) -> None:
    machine.arguments = ["--limits-from-container", "tighten-only"]
    machine.run()
    await machine.serving()
    pod = await started(machine)
    granted, said = await ask(machine, pod, (6 * GIB, 0))
    assert not granted
    assert "tighten-only" in said and said.endswith("kubectl unigpu limit p -n default -c main --memory 6144")
    assert annotation(machine, pod) is None


async def test_limits_are_the_same_on_each_gpu(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create(
        "p", main=(Request(gpus=2, memory=MiB(4096), cores=Percent(0)), [share(0, 4096), share(1, 4096)])
    )
    await machine.kubelet.prestart(pod, "main")
    granted, said = await ask(machine, pod, (6 * GIB, 0), (0, 0))
    assert (granted, "accepted: one value for all of them, such as 6144 MiB" in said) == (False, True)
    assert await ask(machine, pod, (6 * GIB, 0), (6 * GIB, 0)) == (True, "")


async def test_an_old_wish_and_nonsense_change_nothing(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await started(machine)
    for number in (1, time.monotonic_ns() - wishes.PATIENCE_NS, time.monotonic_ns() + 3600 * 10**9, (1 << 64) - 1):
        write(machine, pod, (6 * GIB, 0), number=number)
        seen = machine.log.stat().st_size
        other = await started(machine, f"p{number}", 100)
        assert await ask(machine, other, (200 << 20, 0)) == (True, ""), "a later wish is answered"
        assert machine.log.stat().st_size > seen
    granted, _ = await ask(machine, pod, ((1 << 64) - 1, (1 << 32) - 1))
    assert (granted, annotation(machine, pod), memory(machine, pod)) == (False, None, 4096)


async def test_a_storm_costs_the_container_itself_alone(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod, other = await started(machine), await started(machine, "q")
    answers = [await ask(machine, pod, (amount << 20, 0)) for amount in range(5000, 5000 + 3 * wishes.BURST)]
    assert answers[: wishes.BURST] == [(True, "")] * wishes.BURST
    assert "ask too often" in answers[-1][1]
    assert await ask(machine, other, (5 * GIB, 0)) == (True, "")


async def test_fifty_at_once_on_a_full_gpu(machine: Machine) -> None:
    """Room for ten of fifty raises: exactly ten get theirs, and all records say the same."""
    machine.arguments = ["--shares-per-gpu", "64"]
    machine.run()
    await machine.serving(256)
    pods = [await started(machine, f"p{number}", 400) for number in range(50)]
    await started(machine, "filler", 24576 - 50 * 400 - 10 * 100)
    answers = await asyncio.gather(*(ask(machine, pod, (500 << 20, 0)) for pod in pods))
    assert sum(granted for granted, _ in answers) == 10
    assert all(granted or "accepted: up to 400 MiB" in said for granted, said in answers)
    for pod, (granted, _) in zip(pods, answers, strict=True):
        assert memory(machine, pod) == (500 if granted else 400)
        assert annotation(machine, pod) == ('{"main":{"memory":500}}' if granted else None)
        assert annotation(machine, pod, names.ANNOTATION_LIMITS_APPLIED) == annotation(machine, pod)


async def test_a_pod_that_has_changed_is_read_again(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await started(machine)
    machine.api.answering.clear()
    number = write(machine, pod, (6 * GIB, 0))
    present = json.loads(json.dumps(machine.api.objects["pods"]["default/p"]))
    present["metadata"]["annotations"]["example.com/other"] = "1"
    await machine.api.put("pods", present)
    machine.api.answering.set()
    await until(lambda: answer(machine, pod, number) is not None, "an answer")
    assert answer(machine, pod, number) == (True, "")
    assert annotation(machine, pod, "example.com/other") == "1"


@pytest.mark.parametrize("signal", ["kill", "terminate"])
async def test_an_agent_that_is_away_answers_nothing_old(machine: Machine, signal: str) -> None:
    machine.run()
    await machine.serving()
    pod = await started(machine)
    getattr(machine, signal)()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    number = write(machine, pod, (6 * GIB, 0), number=time.monotonic_ns() - wishes.PATIENCE_NS)
    machine.run()
    await machine.serving()
    other = await started(machine, "q")
    assert await ask(machine, other, (5 * GIB, 0)) == (True, "")
    assert answer(machine, pod, number) is None
    assert annotation(machine, pod) is None
