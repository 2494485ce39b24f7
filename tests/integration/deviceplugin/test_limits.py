"""Limits that change while containers run: in force, told, and said by the pod, whenever the agent is killed."""

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio
import pytest

from tests.integration.deviceplugin.conftest import Machine, one, share, until, uuid
from tests.integration.deviceplugin.usage_writer import use
from unigpu import grants, limits, names, policy, usage
from unigpu.requests import ComputePolicy, Request, Role
from unigpu.units import MiB, Percent

HARD = ComputePolicy.HARD


async def annotate(machine: Machine, pod: dict[str, Any], text: str | None) -> None:
    """As `kubectl annotate` does."""
    present = json.loads(json.dumps(machine.api.objects["pods"][f"default/{pod['metadata']['name']}"]))
    if text is None:
        present["metadata"]["annotations"].pop(names.ANNOTATION_LIMITS)
    else:
        present["metadata"]["annotations"][names.ANNOTATION_LIMITS] = text
    await machine.api.put("pods", present)


def in_force(machine: Machine, pod: dict[str, Any], container: str = "main") -> tuple[int, int, int, ComputePolicy]:
    """MiB, share, ceiling and policy of the first GPU."""
    found = policy.unpack((machine.folder(pod, container) / "policy").read_bytes())
    (gpu, *_) = found.gpus
    return gpu.memory >> 20, gpu.cores, gpu.ceiling, found.compute


def applied(machine: Machine, pod: dict[str, Any]) -> str | None:
    present = machine.api.objects["pods"][f"default/{pod['metadata']['name']}"]
    text: str | None = present["metadata"]["annotations"].get(names.ANNOTATION_LIMITS_APPLIED)
    return text


def told(machine: Machine) -> list[tuple[str, str]]:
    """Reasons and messages of all events about limits, in their order."""
    return [(event["reason"], event["message"]) for event in about_limits(machine)]


def about_limits(machine: Machine) -> list[dict[str, Any]]:
    return [event for event in machine.api.objects["events"].values() if event["reason"].startswith("Limits")]


def granted(machine: Machine, pod: dict[str, Any], container: str = "main") -> tuple[int, int]:
    (first, *_) = grants.load((machine.folder(pod, container) / "grant.json").read_text()).shares
    return first.memory, first.cores


async def counted(machine: Machine, **outcomes: int) -> None:
    """Wait until the agent's metrics say so."""
    wanted = [f'{names.METRIC_AGENT_LIMIT_CHANGES}{{outcome="{name}"}} {count}.0' for name, count in outcomes.items()]
    deadline = time.monotonic() + 60
    while not set(wanted) <= {*(page := (await machine.get("/metrics"))[1]).splitlines()}:
        assert time.monotonic() < deadline, page
        await asyncio.sleep(0.05)


async def running(machine: Machine, name: str = "p", **request: Any) -> dict[str, Any]:
    pod = await machine.create(name, main=one(0, 4096, 50, **request))
    await machine.kubelet.prestart(pod, "main")
    return pod


async def test_lowered_and_raised(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    inode = (machine.folder(pod) / "policy").stat().st_ino
    prepared = (machine.folder(pod) / "grant.json").stat().st_mtime_ns
    await annotate(machine, pod, "memory=1Gi,cores=10")
    await until(lambda: applied(machine, pod) == '{"main":{"cores":10,"memory":1024}}', "it is said to be in force")
    assert in_force(machine, pod) == (1024, 10, 10, HARD)
    await until(lambda: granted(machine, pod) == (1024, 10), "the grant says it")
    await annotate(machine, pod, '{"main": {"memory": "8Gi", "cores": 80, "policy": "soft"}}')
    await until(lambda: in_force(machine, pod) == (8192, 80, 100, ComputePolicy.SOFT), "raised")
    assert applied(machine, pod) == '{"main":{"cores":80,"memory":8192,"policy":"soft"}}'
    await until(lambda: granted(machine, pod) == (8192, 80), "the grant says it")
    await annotate(machine, pod, None)
    await until(lambda: in_force(machine, pod) == (4096, 50, 50, HARD), "as requested again")
    await until(lambda: applied(machine, pod) == "{}", "it is said")
    assert told(machine) == [
        ("LimitsChanged", "main: memory 4096 -> 1024 MiB, cores 50 -> 10 %"),
        (
            "LimitsChanged",
            "main: memory 1024 -> 8192 MiB, cores 10 -> 80 %, ceiling none -> 100 %, policy hard -> soft",
        ),
        (
            "LimitsChanged",
            "main: memory 8192 -> 4096 MiB, cores 80 -> 50 %, ceiling 100 -> none %, policy soft -> hard",
        ),
    ]
    (event, *_) = about_limits(machine)
    assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
    assert event["type"] == "Normal"
    assert (machine.folder(pod) / "policy").stat().st_ino == inode
    assert (machine.folder(pod) / "grant.json").stat().st_mtime_ns == prepared
    await counted(machine, changed=3, refused=0)


async def test_the_same_change_again_is_told_again(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    for _ in range(3):
        for cores in (10, 60):
            await annotate(machine, pod, f"cores={cores}")
            await until(lambda: in_force(machine, pod)[1] == cores, "in force")  # noqa: B023
            await until(lambda: f'"cores":{cores}' in (applied(machine, pod) or ""), "it is said")  # noqa: B023
    assert [message for _, message in told(machine)] == [
        "main: cores 50 -> 10 %",
        *["main: cores 10 -> 60 %", "main: cores 60 -> 10 %"] * 2,
        "main: cores 10 -> 60 %",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "memory=22Gi",
            "main: GPU GPU-00000000-0000-0000-0000-000000000000 has 24576 MiB, and 26528 MiB would be granted",
        ),
        ("cores=60", "would have 110 % of its compute granted"),
        ("memory=lots", "memory = lots"),
        ("ceiling=30", "below the container's share of 50 %"),
        ('{"other": {"cores": 10}}', "no container with a share of a GPU has that name"),
    ],
)
async def test_refused(machine: Machine, text: str, says: str) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    neighbour = await machine.create("neighbour", main=one(0, 4000, 50))
    await machine.kubelet.prestart(neighbour, "main")
    before = (machine.folder(pod) / "policy").read_bytes()
    await annotate(machine, pod, text)
    await until(lambda: told(machine), "an event says why")
    ((reason, message),) = told(machine)
    assert reason == "LimitsRefused"
    assert says in message
    await counted(machine, changed=0, refused=1)
    machine.kill()
    machine.run()
    await machine.serving()
    await until(lambda: machine.log.read_text().count("limits refused") == 2, "its successor refuses it too")
    assert len(told(machine)) == 1
    assert applied(machine, pod) is None
    assert policy.guarded((machine.folder(pod) / "policy").read_bytes()) == policy.guarded(before)
    assert granted(machine, pod) == (4096, 50)


async def test_what_was_refused_is_in_force_once_there_is_room(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    neighbour = await machine.create("neighbour", main=one(0, 20000))
    await machine.kubelet.prestart(neighbour, "main")
    await annotate(machine, pod, "memory=8Gi")
    await until(lambda: told(machine), "refused")
    await machine.remove(neighbour)
    await until(lambda: in_force(machine, pod)[0] == 8192, "in force")
    assert [reason for reason, _ in told(machine)] == ["LimitsRefused", "LimitsChanged"]


async def test_books_follow(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    await annotate(machine, pod, "memory=20Gi")
    await until(lambda: in_force(machine, pod)[0] == 20480, "raised")
    other = await machine.create("other", main=one(0, 8000))
    with pytest.raises(grpc.aio.AioRpcError, match="28480 MiB would be granted"):
        await machine.kubelet.prestart(other, "main")
    await annotate(machine, pod, "memory=10Gi")
    await until(lambda: granted(machine, pod)[0] == 10240, "lowered")
    await machine.kubelet.prestart(other, "main")


async def test_a_killed_agent_misses_nothing(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    machine.kill()
    await annotate(machine, pod, "memory=1Gi")
    machine.run()
    await until(lambda: in_force(machine, pod)[0] == 1024, "in force")
    await until(lambda: applied(machine, pod) == '{"main":{"memory":1024}}', "it is said")
    assert len(told(machine)) == 1


@pytest.mark.parametrize("change", ["memory=1Gi,cores=80", "memory=8Gi,cores=10"])
@pytest.mark.parametrize("refused", ["POST", "PATCH"])
async def test_killed_in_the_middle_of_a_change(machine: Machine, change: str, refused: str) -> None:
    """Before its event, or between that and the annotation: what is taken is taken, what is given isn't given yet."""
    machine.run()
    await machine.serving()
    pod = await running(machine)
    machine.api.refusing = {refused}
    await annotate(machine, pod, change)
    lower = (1024, 50) if "1Gi" in change else (4096, 10)
    await until(lambda: in_force(machine, pod)[:2] == lower, "what the change takes is in force")
    await until(lambda: refused == "POST" or told(machine), "as far as it comes")
    machine.kill()
    assert applied(machine, pod) is None
    assert in_force(machine, pod)[:2] == lower
    machine.api.refusing = set()
    machine.run()
    wanted = (1024, 80) if "1Gi" in change else (8192, 10)
    await until(lambda: in_force(machine, pod)[:2] == wanted, "all of it is in force")
    await until(lambda: granted(machine, pod) == wanted, "the grant says it")
    assert len(told(machine)) == 1


async def test_killed_between_the_annotation_and_the_raise(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    machine.kill()
    await annotate(machine, pod, "memory=8Gi")
    present = machine.api.objects["pods"]["default/p"]
    present["metadata"]["annotations"][names.ANNOTATION_LIMITS_APPLIED] = '{"main":{"memory":8192}}'
    machine.run()
    await until(lambda: in_force(machine, pod)[0] == 8192, "in force")
    await until(lambda: granted(machine, pod)[0] == 8192, "the grant says it")
    assert told(machine) == []


async def test_a_container_that_starts_later_has_them_from_the_start(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    request = Request(1, MiB(4096), cores=Percent(50), dialect=names.DIALECT_HAMI)
    early = (Request(1, MiB(2048), role=Role.SIDECAR), [share(0, 2048)])
    pod = await machine.create("p", early=early, main=(request, [share(0, 4096, 50)]))
    await machine.kubelet.prestart(pod, "early")
    await annotate(machine, pod, '{"main": {"memory": 1024, "cores": 80}, "early": {"memory": 3000}}')
    await until(lambda: in_force(machine, pod, "early")[0] == 3000, "in force for the one that runs")
    await machine.kubelet.prestart(pod, "main")
    assert in_force(machine, pod)[:2] == (1024, 80)
    _, env = machine.edits(pod)
    assert env["CUDA_DEVICE_MEMORY_LIMIT_0"] == "1024m"
    assert env[names.ENV_INJECTED_LIMITS] == "CUDA_DEVICE_MEMORY_LIMIT_0=1024m;CUDA_DEVICE_SM_LIMIT=80"


async def test_annotated_before_anything_started(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("p", main=one(1, 4096, 50))
    await annotate(machine, pod, "memory=2Gi")
    await machine.kubelet.prestart(pod, "main")
    assert in_force(machine, pod)[0] == 2048
    assert applied(machine, pod) == '{"main":{"memory":2048}}'


HOLD = """
import fcntl, struct, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print(flush=True)
sys.stdin.read()
"""


async def test_what_a_program_holds_beyond_its_limit_is_told_and_counted(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    file = machine.folder(pod) / grants.USAGE_FILE

    use(file, 3000)
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD, str(file), str(usage.LOCKS_OFFSET)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert program.stdout is not None
        await program.stdout.readline()
        await annotate(machine, pod, "memory=1Gi")
        held = limits.dump_applied(limits.Applied({"main": limits.Limit(MiB(1024))}, {"main": {uuid(0): MiB(3000)}}))
        await until(lambda: applied(machine, pod) == held, "what is held is said")
        assert f"still in use: 3000 of 1024 MiB on {uuid(0)}" in told(machine)[0][1]
        other = await machine.create("other", main=one(0, 22000))
        with pytest.raises(grpc.aio.AioRpcError, match="25000 MiB would be granted"):
            await machine.kubelet.prestart(other, "main")
        use(file, 23000)
        await annotate(machine, pod, "memory=512Mi")
        held = limits.dump_applied(limits.Applied({"main": limits.Limit(MiB(512))}, {"main": {uuid(0): MiB(3000)}}))
        await until(lambda: applied(machine, pod) == held, "no more than it held is counted")
        await annotate(machine, pod, "memory=1Gi")
        use(file, 1000)
        await until(lambda: applied(machine, pod) == '{"main":{"memory":1024}}', "nothing is held any more")
        await machine.kubelet.prestart(other, "main")
    finally:
        program.kill()
        await program.wait()
    assert len(told(machine)) == 3


async def label(machine: Machine, mode: str) -> None:
    node = json.loads(json.dumps(machine.api.node("node-a")))
    node["metadata"]["labels"] = {names.LABEL_MODE: mode}
    await machine.api.put("nodes", node)


def enforced(machine: Machine, pod: dict[str, Any]) -> tuple[bool, bool]:
    found = policy.unpack((machine.folder(pod) / "policy").read_bytes())
    return found.memory_enforced, found.cores_enforced


async def test_modes_hold_what_changed_too(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await running(machine)
    await annotate(machine, pod, "memory=1Gi,cores=10")
    await until(lambda: applied(machine, pod) == '{"main":{"cores":10,"memory":1024}}', "it is said to be in force")
    await label(machine, "cgpu")
    await until(lambda: enforced(machine, pod) == (True, False), "memory alone is enforced")
    assert in_force(machine, pod)[:2] == (1024, 10)


@pytest.mark.parametrize("refused", [False, True], ids=["slow", "refused"])
async def test_a_mode_that_comes_in_the_middle_of_a_change_gives_nothing_back(machine: Machine, refused: bool) -> None:
    machine.run()
    await machine.serving()
    pod, other = await running(machine), await running(machine, "other")
    if refused:
        machine.api.refusing.add("PATCH")
    else:
        machine.api.answering.clear()
    await annotate(machine, pod, "memory=1Gi,cores=10")
    await until(lambda: in_force(machine, pod)[:2] == (1024, 10), "taken; not yet said")
    await label(machine, "cgpu")
    await until(lambda: enforced(machine, other) == (True, False), "the label is seen; nobody else waits")
    await asyncio.sleep(0.1)
    assert in_force(machine, pod)[:2] == (1024, 10)
    machine.api.refusing.clear()
    machine.api.answering.set()
    await until(lambda: enforced(machine, pod) == (True, False), "memory alone is enforced")
    assert in_force(machine, pod)[:2] == (1024, 10)
    assert len(told(machine)) == 1
