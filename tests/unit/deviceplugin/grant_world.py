"""A node for the agent's eyes: a /proc made of files, locks on usage files, and the events that are written."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.node.grant_watch import GrantWatch
from deviceplugin.node.incident_reports import IncidentReports
from deviceplugin.node.inventory import Processes, ProcessReading
from deviceplugin.node.node_state import Node, NodeState
from deviceplugin.node.process_table import ProcessTable
from deviceplugin.node_api import NodeApi, Refused
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from deviceplugin.store.container_store import ContainerStore
from unigpu import breaches, errors, usage
from unigpu.allocations import Share
from unigpu.breaches import Kind
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.policy import GpuLimit, Policy
from unigpu.units import GpuUuid, MiB, Percent, to_bytes
from unigpu_kube.client import Json

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
UID = "0a1b2c3d-1111-2222-3333-444455556666"
MAIN, OTHER, DEBUGGER = "aa" * 32, "bb" * 32, "cc" * 32
KEEPER = """
import fcntl, struct, sys, time
file = open(sys.argv[1], "r+b")
lock = struct.pack("hhqqi0q", fcntl.F_WRLCK, 0, int(sys.argv[2]), 1, 0)
fcntl.fcntl(file, fcntl.F_SETLK, lock)
print("locked", flush=True)
time.sleep(600)
"""


class FakeApi:
    """The API server, as far as events go."""

    def __init__(self) -> None:
        self.events: dict[str, Json] = {}
        self.down = False
        self.refused = ""

    async def create_event(self, event: Json) -> None:
        if self.down:
            raise errors.Unavailable("the API server is away")
        if event["reason"] == self.refused:
            raise Refused("API server answers 403: exceeded quota")
        self.events.setdefault(event["metadata"]["name"], event)

    def told(self) -> list[tuple[str, str, str]]:
        return sorted(
            (event["involvedObject"]["kind"], event["reason"], event["message"]) for event in self.events.values()
        )


class World:
    """A node with two GPUs, a pod on it, and a /proc of its own."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.proc.mkdir()
        self.api = FakeApi()
        gpus = {uuid: Gpu(uuid, index, index, "T4", MiB(24576)) for index, uuid in enumerate((A, B))}
        self.node = NodeState(Node("node-a", "boot", {}, gpus))
        self.containers = ContainerStore(root / "containers")
        self.grants = GrantLedger({})
        self.cache = PodCache()
        self.reports = IncidentReports(cast(NodeApi, self.api), self.node, self.grants, self.cache)
        self.changes = 0
        self.table = ProcessTable(self.proc)
        self.watch = GrantWatch(
            self.table, self.node, self.grants, self.cache, self.containers, self.reports, self._changed
        )

    def _changed(self) -> None:
        self.changes += 1

    def grant(self, container: str = "main", memory: int = 3200, gpu: GpuUuid = A, **more: bool | int) -> Path:
        share = Share(gpu, MiB(memory), Percent(10))
        isolated = bool(more.get("isolated", True))
        grant = Grant("team", "pod", UID, container, ("s",), (share,), {gpu: 0}, isolated, "hami", boot="boot")
        limits = Policy((GpuLimit(gpu, to_bytes(MiB(memory)), Percent(10), Percent(10)),), True, True)
        self.grants.enter(grant)
        return self.containers.write(grant, limits)

    def pod(self, **ids: str) -> None:
        self.cache.observe(Pod("team", "pod", UID, ids={value: key for key, value in ids.items()}))

    def process(self, pid: int, container_id: str | None, name: str = "python", started: int = 5) -> None:
        folder = self.proc / str(pid)
        folder.mkdir(exist_ok=True)
        cgroup = "0::/system.slice/cron.service" if container_id is None else f"0::/kubepods/pod{UID}/{container_id}"
        (folder / "cgroup").write_text(cgroup + "\n")
        (folder / "comm").write_text(name + "\n")
        (folder / "stat").write_text(f"{pid} ({name}) S {' '.join(['1'] * 18)} {started} 0 0\n")

    async def observe(
        self,
        *found: tuple[int, GpuUuid, int],
        gpus: tuple[GpuUuid, ...] = (A, B),
        used: Mapping[GpuUuid, int] | None = None,
    ) -> None:
        """`used`: MiB in use of each GPU; what the processes hold, where nothing else is said."""
        listed = {
            gpu: tuple(ProcessReading(pid, to_bytes(MiB(memory))) for pid, on, memory in found if on == gpu)
            for gpu in gpus
        }
        held = {gpu: sum(memory for _, on, memory in found if on == gpu) for gpu in gpus} | dict(used or {})
        await self.watch.observe(Processes(listed, {gpu: to_bytes(MiB(amount)) for gpu, amount in held.items()}))

    async def lasting(
        self,
        *found: tuple[int, GpuUuid, int],
        gpus: tuple[GpuUuid, ...] = (A, B),
        used: Mapping[GpuUuid, int] | None = None,
    ) -> None:
        """The same in each sample, for as long as a finding needs to count or to end."""
        # Two at each end: of two samples that are the same, the watch may skip one.
        for _ in range(2):
            await self.observe(*found, gpus=gpus, used=used)
        deadline = time.monotonic() + breaches.CONFIRM + 0.1
        while time.monotonic() < deadline:
            await self.observe(*found, gpus=gpus, used=used)
            await asyncio.sleep(0.05)
        for _ in range(2):
            await self.observe(*found, gpus=gpus, used=used)

    async def written(self) -> list[tuple[str, str, str]]:
        """The events, once all that wait are written; while the API server is down, those from before."""
        task = asyncio.create_task(self.reports.run())
        async with asyncio.timeout(60):
            while self.reports._waiting and not self.api.down:  # noqa: ASYNC110 nobody says that the last is written
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return self.api.told()

    def kinds(self) -> list[tuple[Kind, GpuUuid, str]]:
        return sorted((entry.key.kind, entry.key.gpu, entry.key.container) for entry in self.watch.entries)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(breaches, "CONFIRM", 0.2)
    return World(tmp_path)


@pytest.fixture
def keeper(world: World) -> Iterator[Callable[[Path], int]]:
    """Starts a process that holds a lock on a usage file, as libvgpu does; its pid."""
    running: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, slot: int = 3) -> int:
        command = [sys.executable, "-c", KEEPER, str(folder / "usage"), str(usage.LOCKS_OFFSET + slot)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.communicate()
