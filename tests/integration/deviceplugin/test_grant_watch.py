"""The agent's eyes on the simulated driver: real pids, as its NVML lists them, in a /proc of the test's own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import Machine, make_pod, until
from tests.integration.deviceplugin.test_simulator import LIBRARIES, node_gpus, sim, use
from unigpu import names, node_report, usage
from unigpu.allocations import Share
from unigpu.breaches import Kind
from unigpu.requests import Request
from unigpu.units import GpuUuid, MiB, Percent

UID = "0a1b2c3d-1111-2222-3333-444455556666"
CONTAINER = "aa" * 32
NOTICED = 5.0
"""Seconds after which a breach must be noticed. On a busy machine the test waits longer, and prints the time."""
PROGRAM = """
import ctypes, fcntl, struct, sys, time
device, memory, usage_file, place = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if usage_file:  # as libvgpu holds it
    file = open(usage_file, "r+b")
    fcntl.fcntl(file, fcntl.F_SETLK, struct.pack("hhqqi0q", fcntl.F_WRLCK, 0, place, 1, 0))
cuda = ctypes.CDLL("libcuda.so.1")
context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(memory << 20)) == 0
print("ready", flush=True)
for line in sys.stdin:
    assert cuda.cuMemFree_v2(pointer) == 0
    print("free", flush=True)
"""


class Program:
    """A program that holds GPU memory until the test lets it free that."""

    def __init__(self, machine: Machine, gpu: int, memory: int, usage_file: Path | None, cgroup: str) -> None:
        environment = {**os.environ, "UNIGPU_SIM_DIR": str(machine.sim), "LD_LIBRARY_PATH": str(LIBRARIES)}
        place = str(usage.LOCKS_OFFSET + 1)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(gpu), str(memory), str(usage_file or ""), place],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        folder = machine.root / "proc" / str(self.process.pid)
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(f"0::{cgroup}\n")
        for file in ("comm", "stat"):
            (folder / file).symlink_to(f"/proc/{self.process.pid}/{file}")
        self.says("ready")

    def says(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def free(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("free\n")
        self.process.stdin.flush()
        self.says("free")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Program]


@pytest.fixture
def start(machine: Machine) -> Iterator[Start]:
    """Starts programs: GPU, MiB, usage file or None, control group."""
    running: list[Program] = []

    def program(gpu: int, memory: int, usage_file: Path | None = None, cgroup: str = "/system.slice/cron") -> Program:
        running.append(Program(machine, gpu, memory, usage_file, cgroup))
        return running[-1]

    yield program
    for one in running:
        one.end()


def events(machine: Machine, reason: str, kind: str) -> list[str]:
    return [
        event["message"]
        for event in machine.api.objects["events"].values()
        if event["reason"] == reason and event["involvedObject"]["kind"] == kind
    ]


def foreign(machine: Machine) -> list[int]:
    return [gpu.foreign for gpu in node_gpus(machine)]


def reported(machine: Machine) -> set[Kind]:
    report = node_report.load((machine.state / node_report.REPORT_FILE).read_text())
    return {entry.key.kind for entry in report.findings}


async def serve(machine: Machine, *arguments: str) -> None:
    use(machine, "--profile", "t4", "--gpus", "2")
    (machine.root / "proc").mkdir()
    machine.arguments = ["--proc-root", str(machine.root / "proc"), *arguments]
    machine.run()
    await machine.serving(32)


async def place(machine: Machine, gpu: GpuUuid, memory: int) -> tuple[dict[str, Any], str]:
    """A pod with one container that runs; and its control group."""
    pod = make_pod("pod", {"main": (Request(1, MiB(memory)), [Share(gpu, MiB(memory), Percent(0))])})
    pod["metadata"]["uid"] = UID
    pod["status"]["containerStatuses"] = [
        {"name": "main", "containerID": f"containerd://{CONTAINER}", "state": {"running": {}}}
    ]
    await machine.api.put("pods", pod)
    await machine.kubelet.admit(pod)
    await machine.kubelet.prestart(pod, "main")
    return pod, f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope"


async def test_a_breach_and_a_stranger_from_beginning_to_end(
    machine: Machine, start: Start, record_property: Callable[[str, object], None]
) -> None:
    await serve(machine)
    first, second = node_gpus(machine)
    pod, cgroup = await place(machine, first.uuid, 2048)
    honest = start(0, 1024, machine.folder(pod) / "usage", cgroup)
    began = time.monotonic()
    stranger = start(1, 4096)
    await until(lambda: events(machine, names.EVENT_STRANGER, "Node"), "an event about the stranger")
    seconds = time.monotonic() - began
    record_property("noticed_seconds", seconds)
    print(f"noticed in {seconds:.1f} s; promised {NOTICED:.0f} s")
    (text,) = events(machine, names.EVENT_STRANGER, "Node")
    assert f"of GPU 1 ({second.uuid}) are held outside every container with a grant" in text
    assert str(stranger.process.pid) in text
    await until(lambda: 4096 <= foreign(machine)[1] <= 4096 + 1024, "the inventory counts the stranger")
    assert foreign(machine)[0] == 0
    assert reported(machine) == {Kind.STRANGER}

    offender = start(0, 3072, None, cgroup)
    for kind in ("Pod", "Node"):
        await until(lambda: len(events(machine, names.EVENT_BREACH, kind)) == 2, f"events on the {kind}")  # noqa: B023
    assert reported(machine) == {Kind.STRANGER, Kind.MEMORY, Kind.UNMANAGED}
    blamed = events(machine, names.EVENT_BREACH, "Pod")
    assert all(f"process {offender.process.pid} (" in text and str(honest.process.pid) not in text for text in blamed)
    assert any("2048 MiB are granted" in text for text in blamed)
    await until(lambda: 2048 <= foreign(machine)[0] <= 4096, "the inventory counts the breach")

    # The next agent says nothing twice.
    machine.kill()
    machine.run()
    await machine.serving(32)
    stranger.end()
    offender.end()
    await until(lambda: events(machine, names.EVENT_STRANGER_GONE, "Node"), "the stranger's end")
    await until(lambda: len(events(machine, names.EVENT_BREACH_ENDED, "Pod")) == 2, "the breaches' end")
    await until(lambda: foreign(machine) == [0, 0], "nothing is foreign any more")
    assert len(events(machine, names.EVENT_STRANGER, "Node")) == 1
    assert len(events(machine, names.EVENT_BREACH, "Pod")) == 2
    assert reported(machine) == set()
    assert honest.process.poll() is None


async def test_a_breach_that_lasts_is_ended_where_the_settings_say_so(machine: Machine, start: Start) -> None:
    await serve(machine, "--on-breach", "end", "--breach-grace", "1")
    first, _ = node_gpus(machine)
    pod, cgroup = await place(machine, first.uuid, 2048)
    honest = start(0, 512, machine.folder(pod) / "usage", cgroup)
    stranger = start(0, 512)
    offender = start(0, 3072, None, cgroup)
    await until(lambda: offender.process.poll() is not None, "the offender is ended")
    assert offender.process.returncode == -signal.SIGKILL
    await until(lambda: events(machine, names.EVENT_OFFENDERS_KILLED, "Pod"), "an event about that")
    await until(lambda: events(machine, names.EVENT_BREACH_ENDED, "Pod"), "the breach's end")
    assert honest.process.poll() is None
    assert stranger.process.poll() is None


async def test_a_lost_gpu_is_an_event_with_its_reason(machine: Machine) -> None:
    await serve(machine)
    first, second = node_gpus(machine)
    await place(machine, second.uuid, 1024)
    sim(machine, "inject", "--gpu", "1", "--xid", "79")
    for kind in ("Node", "Pod"):
        await until(lambda: events(machine, names.EVENT_GPU_UNHEALTHY, kind), f"an event on the {kind}")  # noqa: B023
        (text,) = events(machine, names.EVENT_GPU_UNHEALTHY, kind)
        assert text.startswith(f"GPU 1 ({second.uuid}) is unhealthy since ")
        assert "XID 79" in text
    report = node_report.load((machine.state / node_report.REPORT_FILE).read_text())
    assert [gpu.healthy for gpu in report.gpus] == [True, False]
    assert report.gpus[0].uuid == first.uuid


@pytest.mark.parametrize(("interval", "kinds"), [("0", {"gpus"}), ("0.02", {"gpus", "processes"})])
async def test_processes_are_read_only_where_they_are_wanted(machine: Machine, interval: str, kinds: set[str]) -> None:
    use(machine, "--profile", "t4", "--gpus", "1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deviceplugin.node.probe", str(LIBRARIES / "libnvidia-ml.so.1"), "0.05", interval),
        env={**os.environ, "UNIGPU_SIM_DIR": str(machine.sim)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        lines = [json.loads(await process.stdout.readline()) for _ in range(6)]
        assert {kind for line in lines for kind in ("gpus", "processes") if kind in line} == kinds
    finally:
        process.kill()
        await process.wait()
