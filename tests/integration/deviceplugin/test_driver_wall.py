"""The driver's own memory limits on the simulated driver of branch 615, in real control groups."""

import asyncio
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import NODE, Machine, make_pod, until
from tests.integration.deviceplugin.test_limits import annotate, applied
from tests.integration.deviceplugin.test_simulator import LIBRARIES, node_gpus, sim, use
from unigpu import driver_limits, names, node_report, walls
from unigpu.allocations import Share
from unigpu.requests import Request
from unigpu.units import Bytes, MiB, Percent
from unigpu.walls import Wall

UID = "0a1b2c3d-1111-2222-3333-444455556666"
MAIN, SIDE, SANDBOX = "aa" * 32, "bb" * 32, "cc" * 32
MIB = 1 << 20
TOTAL = Bytes(15360 * MIB)
CONTEXT = 100
CLEARED = (1 << 64) - 1
PROGRAM = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
for line in sys.stdin:
    print(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(int(line) << 20)), flush=True)
"""


class Limits(ctypes.Structure):
    _fields_ = (
        ("group", ctypes.c_char_p),
        ("soft", ctypes.c_ulonglong),
        ("hard", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


READER = """
import ctypes, json, sys
from tests.integration.deviceplugin.test_driver_wall import Limits
nvml, handle = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p()
assert nvml.nvmlInit_v2() == 0
for line in sys.stdin:
    gpu, group, *change = json.loads(line)
    assert nvml.nvmlDeviceGetHandleByIndex_v2(gpu, ctypes.byref(handle)) == 0
    found = Limits(group.encode(), *change)
    call = nvml.nvmlDeviceSetMemoryLimits_v1 if change else nvml.nvmlDeviceGetMemoryLimits_v1
    print(json.dumps([call(handle, ctypes.byref(found)), found.soft, found.hard]), flush=True)
"""
NOT_FOUND = 6


class Groups:
    """The control groups of one pod, as a kubelet and a runtime make them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        top = root if (root / "cgroup.controllers").exists() else root / "memory"
        self.pod = top / "kubepods" / "burstable" / f"pod{UID}"
        top.mkdir(exist_ok=True)

    def make(self, container: str = "") -> Path:
        folder = self.pod / container if container else self.pod
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def remove(self) -> None:
        for folder, _, _ in os.walk(self.root, topdown=False):
            Path(folder).rmdir()


@pytest.fixture
def groups(short_path: Path) -> Iterator[Groups]:
    root = Path("/sys/fs/cgroup")
    folder = (root / "memory" if (root / "memory").is_dir() else root) / f"unigpu-test-{os.getpid()}-{short_path.name}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups can't be made here: {error}")
    found = Groups(folder)
    try:
        yield found
    finally:
        found.remove()


class Nvml:
    """NVML as an administrator calls it."""

    def __init__(self, machine: Machine) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, str(LIBRARIES / "libnvidia-ml.so.1")],
            env={**os.environ, "UNIGPU_SIM_DIR": str(machine.sim)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, *call: object) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        found: list[int] = json.loads(self._process.stdout.readline())
        return found

    def hard(self, group: Path, gpu: int = 0) -> int | None:
        """The group's hard limit, None without one; there is never a soft one."""
        status, soft, hard = self._ask(gpu, str(group))
        assert status in (0, NOT_FOUND)
        assert soft == 0
        return hard if status == 0 else None

    def set(self, group: Path, soft: int, hard: int, gpu: int = 0) -> None:
        assert self._ask(gpu, str(group), soft, hard)[0] == 0

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


class Program:
    """A program without libvgpu, in a control group."""

    def __init__(self, machine: Machine, group: Path) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", sys.executable, "-c", PROGRAM],
            env={**os.environ, "UNIGPU_SIM_DIR": str(machine.sim), "LD_LIBRARY_PATH": str(LIBRARIES)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def take(self, memory: int) -> int:
        """Return the driver's answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{memory}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def wall(memory: int) -> int:
    """The hard limit of a share."""
    return driver_limits.hard_limit(Bytes(memory * MIB), TOTAL)


def standing(machine: Machine) -> walls.Walls | None:
    text = machine.api.node(NODE)["metadata"].get("annotations", {}).get(names.ANNOTATION_WALLS)
    return walls.load(text) if text is not None else None


def has_all(machine: Machine) -> bool:
    found = standing(machine)
    return found is not None and not found.missing


async def serve(machine: Machine, groups: Groups, version: str = "615.10", profile: str = "t4") -> None:
    use(machine, "--profile", profile, "--gpus", "2", "--driver-version", version)
    (machine.root / "proc").mkdir(exist_ok=True)
    machine.arguments = ["--proc-root", str(machine.root / "proc"), "--cgroup-root", str(groups.root)]
    machine.run()
    await machine.serving(32)


async def place(machine: Machine, **memory: int) -> dict[str, Any]:
    """A pod with a share of GPU 0 for each of these containers, about to start."""
    gpu = node_gpus(machine)[0].uuid
    asked = {name: (Request(1, MiB(amount)), [Share(gpu, MiB(amount), Percent(0))]) for name, amount in memory.items()}
    pod = make_pod("pod", asked)
    pod["metadata"]["uid"] = UID
    await machine.api.put("pods", pod)
    await machine.kubelet.admit(pod)
    return pod


async def show(machine: Machine, pod: dict[str, Any], **ids: str) -> None:
    """Let the pod's status show its containers' IDs."""
    present = json.loads(json.dumps(machine.api.objects["pods"][f"default/{pod['metadata']['name']}"]))
    present["status"]["containerStatuses"] = [
        {"name": name, "containerID": f"containerd://{identity}", "state": {"running": {}}}
        for name, identity in ids.items()
    ]
    await machine.api.put("pods", present)


@pytest.fixture
def nvml_of(machine: Machine) -> Iterator[Callable[[], Nvml]]:
    made: list[Nvml] = []

    def make() -> Nvml:
        made.append(Nvml(machine))
        return made[-1]

    yield make
    for one in made:
        one.end()


async def test_from_a_containers_start_to_its_end(
    machine: Machine, groups: Groups, nvml_of: Callable[[], Nvml]
) -> None:
    await serve(machine, groups)
    await until(lambda: has_all(machine), "the node says that it has all walls")
    report = node_report.load((machine.state / node_report.REPORT_FILE).read_text())
    assert report.walls == walls.Walls()
    nvml = nvml_of()
    pod = await place(machine, main=2048)
    groups.make()
    await machine.kubelet.prestart(pod, "main")
    assert nvml.hard(groups.pod) == wall(2048), "the pod's limit is there before its container starts"
    assert nvml.hard(groups.pod, gpu=1) is None

    # The container, which the pod's status doesn't show yet: a program without libvgpu is held by the driver.
    program = Program(machine, groups.make(MAIN))
    try:
        assert program.take(3000) == 2, "out of memory"
        assert program.take(1500) == 0
        await until(lambda: nvml.hard(groups.pod / MAIN) == wall(2048), "the container has its own limit")
        await show(machine, pod, main=MAIN)

        # A live change.
        began = time.monotonic()
        await annotate(machine, pod, "memory=4Gi")
        await until(lambda: nvml.hard(groups.pod / MAIN) == wall(4096), "the raised limit")
        print(f"in force {time.monotonic() - began:.2f} s after the annotation; promised 1 s")
        assert nvml.hard(groups.pod) == wall(4096)
        assert program.take(2000) == 0
        await annotate(machine, pod, "memory=1Gi")
        await until(lambda: nvml.hard(groups.pod / MAIN) == wall(1024), "a limit below what is used")
        assert program.take(1) == 2
        await until(lambda: applied(machine, pod), "it is said")
    finally:
        program.end()

    # The container's group goes first, the pod's stays.
    (groups.pod / MAIN).rmdir()
    await machine.remove(pod)
    await until(lambda: not machine.folder(pod).exists(), "the grant is released")
    await until(lambda: nvml.hard(groups.pod) is None, "nothing is left on the pod's group")
    assert "Traceback" not in machine.log.read_text()
    assert "not set" not in machine.log.read_text()


async def test_each_container_has_its_own_limit(machine: Machine, groups: Groups, nvml_of: Callable[[], Nvml]) -> None:
    await serve(machine, groups)
    await until(lambda: has_all(machine), "the node says that it has all walls")
    nvml = nvml_of()
    pod = await place(machine, main=2048, side=1024)
    groups.make()
    await machine.kubelet.prestart(pod, "main")
    assert nvml.hard(groups.pod) == wall(2048)
    await machine.kubelet.prestart(pod, "side")
    assert nvml.hard(groups.pod) == wall(3072)
    for container in (MAIN, SIDE, SANDBOX):
        groups.make(container)
    await until(lambda: nvml.hard(groups.pod / SIDE) == wall(3072), "until it is known, it has what its pod has")
    await show(machine, pod, main=MAIN, side=SIDE)
    await until(lambda: nvml.hard(groups.pod / SIDE) == wall(1024), "its own")
    assert nvml.hard(groups.pod / MAIN) == wall(2048)
    await show(machine, pod, main=MAIN, side=SIDE, other=SANDBOX)
    await until(lambda: nvml.hard(groups.pod / SANDBOX) is None, "a container without a grant has none")


async def test_the_next_agent_clears_what_was_left(
    machine: Machine, groups: Groups, nvml_of: Callable[[], Nvml]
) -> None:
    await serve(machine, groups)
    await until(lambda: has_all(machine), "the node says that it has all walls")
    nvml = nvml_of()
    pod = await place(machine, main=2048)
    groups.make(MAIN)
    await machine.kubelet.prestart(pod, "main")
    await until(lambda: nvml.hard(groups.pod / MAIN) == wall(2048), "its limit")
    machine.kill()
    await machine.remove(pod)
    nvml.set(groups.pod, 512 * MIB, 2048 * MIB)
    nvml.set(groups.pod / MAIN, 512 * MIB, CLEARED)  # only a soft limit
    machine.run()
    await machine.serving(32)
    await until(lambda: _cleared(nvml, groups.pod) and _cleared(nvml, groups.pod / MAIN), "both are cleared")


def _cleared(nvml: Nvml, group: Path) -> bool:
    try:
        return nvml.hard(group) is None
    except AssertionError:
        return False  # a soft limit


async def test_drivers_without_limits_and_gpus_in_mig_mode(machine: Machine, groups: Groups) -> None:
    await serve(machine, groups, "610.20", "a100-40")
    await until(lambda: "R615" in _missing(machine), "why the node lacks a wall")
    pod = await place(machine, main=2048)
    groups.make(MAIN)
    await machine.kubelet.prestart(pod, "main")
    assert machine.log.read_text().count("driver's memory limits") == 1

    # Another driver is loaded, and one of its GPUs is in MIG mode: no container gets that GPU, so nothing is missing.
    sim(machine, "create", "--profile", "a100-40", "--gpus", "2", "--driver-version", "615.10", "--force")
    sim(machine, "set", "--gpu", "1", "--mig", "on")
    await until(lambda: [gpu.healthy for gpu in node_gpus(machine)] == [True, False], "the GPU in MIG mode is noticed")
    await until(lambda: has_all(machine), "the node has all walls on the GPU that it offers")


def _missing(machine: Machine) -> str:
    found = standing(machine)
    return found.missing.get(Wall.DRIVER, "") if found is not None else ""


async def test_the_process_that_sets_limits_may_be_killed(
    machine: Machine, groups: Groups, nvml_of: Callable[[], Nvml]
) -> None:
    await serve(machine, groups)
    await until(lambda: has_all(machine), "the node says that it has all walls")
    nvml = nvml_of()
    for memory in (1024, 2048):
        pod = await place(machine, main=memory)
        groups.make(MAIN)
        await machine.kubelet.prestart(pod, "main")
        await until(lambda: nvml.hard(groups.pod / MAIN) == wall(memory), "its limit")  # noqa: B023
        await machine.remove(pod)
        await until(lambda: nvml.hard(groups.pod / MAIN) is None, "no limit")
        _setter(machine).kill()


def _setter(machine: Machine) -> "Child":
    assert machine.agent is not None
    children = Path(f"/proc/{machine.agent.pid}/task/{machine.agent.pid}/children").read_text().split()
    (found,) = [pid for pid in children if b"limit_calls" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return Child(int(found))


class Child:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def kill(self) -> None:
        os.kill(self._pid, 9)


async def test_a_driver_that_hangs_delays_no_container_for_long(
    machine: Machine, groups: Groups, nvml_of: Callable[[], Nvml]
) -> None:
    await serve(machine, groups)
    await until(lambda: has_all(machine), "the node says that it has all walls")
    nvml_of()
    groups.make()
    pod = await place(machine, main=1024)
    os.kill(_setter(machine)._pid, 19)
    async with asyncio.timeout(20):
        await machine.kubelet.prestart(pod, "main")
    nvml = nvml_of()
    await until(lambda: nvml.hard(groups.pod) == wall(1024), "a new process sets it")
