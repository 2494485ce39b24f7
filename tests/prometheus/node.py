"""A node that is played: a simulated machine, containers' folders as the node agent writes them, programs under
libvgpu, and the exporter, which is killed and started again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulator import machine
from tests.native.libvgpu.machine import LIBRARY, OURS, PROBE, ROOT, SIMULATOR
from unigpu import grants, names, policy, usage
from unigpu.allocations import Share
from unigpu.units import Bytes, GpuUuid, MiB, Percent

CLIENT = ROOT / "build/bench/compute/client"
Json = dict[str, Any]


@dataclass(slots=True)
class Container:
    """A container with a share of one GPU."""

    pod: str
    gpu: GpuUuid
    folder: Path
    created: tuple[float, float]
    """When its grant was written: before and after."""
    removed: tuple[float, float] = (float("inf"), float("inf"))
    program: subprocess.Popen[str] | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulated GPUs themselves say, at one moment."""

    before: float
    after: float
    used: dict[str, int]
    """Bytes by UUID."""
    busy: dict[str, float]
    """Seconds by UUID, since the machine was made."""


@dataclass(slots=True)
class Node:
    """The node."""

    folder: Path
    port: int
    uuids: list[GpuUuid] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    exporter: subprocess.Popen[bytes] | None = None
    _watching: threading.Event = field(default_factory=threading.Event)

    @property
    def machine(self) -> Path:
        return self.folder / "machine"

    @property
    def living(self) -> list[Container]:
        """Containers that aren't removed."""
        return [one for one in self.containers if one.removed[0] == float("inf")]

    def describe(self) -> Truth:
        """Ask the simulator."""
        before = time.time()
        found = machine.describe(self.machine)["gpus"]
        used = {gpu["uuid"]: gpu["used"] for gpu in found}
        return Truth(before, time.time(), used, {gpu["uuid"]: gpu["busy_ns"] / 1e9 for gpu in found})

    def watch(self) -> None:
        """Ask again and again, and keep each answer that differs from the one before it."""
        last = self.describe()
        self.truths.append(last)
        while not self._watching.wait(0.01):
            now = self.describe()
            if now.used == last.used:
                # The same is known to hold until now.
                self.truths[-1] = Truth(self.truths[-1].before, now.after, now.used, now.busy)
            else:
                self.truths.append(now)
            last = now

    def create(self, pod: str, gpu: int, memory: int, cores: int) -> Container:
        """Grant a container a share, as the node agent does."""
        uid, share = str(uuid.uuid4()), Share(self.uuids[gpu], MiB(memory), Percent(cores))
        folder = Path(grants.folder(self.folder / "containers", uid, "main"))
        folder.mkdir(parents=True)
        limit = policy.GpuLimit(share.gpu, Bytes(memory << 20), share.cores, share.cores)
        (folder / grants.POLICY_FILE).write_bytes(policy.pack(policy.Policy((limit,), True, bool(cores))))
        (folder / grants.USAGE_FILE).write_bytes(bytes(usage.SIZE))
        grant = grants.Grant(
            namespace="team",
            pod=pod,
            pod_uid=uid,
            container="main",
            slots=(pod,),
            shares=(share,),
            indexes={share.gpu: gpu},
            isolated=True,
            dialect="hami",
        )
        before = time.time()
        temporary = folder / "grant.new"
        temporary.write_text(grants.dump(grant))
        temporary.rename(folder / grants.GRANT_FILE)
        made = Container(pod, share.gpu, folder, (before, time.time()))
        self.containers.append(made)
        return made

    def run(self, container: Container, *command: str | Path) -> None:
        """Start a program in the container, and wait until it holds what it will."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        ours = {
            "LD_PRELOAD": str(LIBRARY),
            "LD_LIBRARY_PATH": str(SIMULATOR),
            "CUDA_VISIBLE_DEVICES": container.gpu,
            names.ENV_SIM_DIR: str(self.machine),
            names.ENV_TRIAL_POLICY: str(container.folder / grants.POLICY_FILE),
            names.ENV_TRIAL_USAGE: str(container.folder / grants.USAGE_FILE),
        }
        container.program = subprocess.Popen(
            [str(word) for word in command],
            env=inherited | ours,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hold(self, container: Container, memory: int) -> None:
        """Let a program hold memory until it is ended."""
        self.run(container, PROBE, "--no-take", "--hold", str(memory), "--stay")

    def load(self, container: Container) -> None:
        """Let a program launch kernels of 2 ms until it is ended."""
        self.run(container, CLIENT, "load", "kernel=2000000", "ahead=4", "seconds=100000")
        program = container.program
        assert program is not None and program.stdin is not None and program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.stdin.write("\n")
        program.stdin.flush()

    def end(self, container: Container, number: signal.Signals) -> None:
        """End the container's program."""
        if container.program is not None:
            container.program.send_signal(number)
            container.program.communicate()
            container.program = None

    def remove(self, container: Container) -> None:
        """Take the share away, as the node agent does once the container has ended."""
        self.end(container, signal.SIGKILL)
        before = time.time()
        shutil.rmtree(container.folder.parent)
        container.removed = (before, time.time())

    def start_exporter(self) -> None:
        """Start it on the port that Prometheus asks."""
        command = [sys.executable, "-m", "exporter", f"--port={self.port}", "--node=node-1"]
        command += [f"--state-dir={self.folder}"]
        self.exporter = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill_exporter(self) -> None:
        """End it as a crash does."""
        assert self.exporter is not None
        self.exporter.kill()
        self.exporter.wait()


@contextlib.contextmanager
def playing(folder: Path, gpus: int = 2) -> Iterator[Node]:
    """Play a node while the context lasts, and ask its GPUs all the time."""
    for path in (LIBRARY, PROBE, CLIENT, SIMULATOR / "libcuda.so.1"):
        if not path.exists():
            pytest.fail(f"{path} is missing: run `make native bench-compute-programs`")
    with socket.create_server(("127.0.0.1", 0)) as free:
        node = Node(folder, free.getsockname()[1])
    (folder / "containers").mkdir(parents=True)
    machine.create(node.machine, machine.Plan("t4", gpus))
    node.uuids = [GpuUuid(gpu["uuid"]) for gpu in machine.describe(node.machine)["gpus"]]
    watcher = threading.Thread(target=node.watch)
    watcher.start()
    try:
        node.start_exporter()
        yield node
    finally:
        node._watching.set()
        watcher.join()
        for container in node.living:
            node.remove(container)
        node.kill_exporter()
