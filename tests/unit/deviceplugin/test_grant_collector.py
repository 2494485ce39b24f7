"""Grants whose pods are gone, and who may keep them alive."""

import asyncio
import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from deviceplugin.allocation import grant_collector
from deviceplugin.allocation.grant_collector import GrantCollector
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.node.lock_owners import LockOwners
from deviceplugin.node.process_table import ProcessTable
from deviceplugin.pod_cache import PodCache
from deviceplugin.store.container_store import ContainerStore
from unigpu import errors, grants, usage
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.policy import GpuLimit, Policy
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, MiB, Percent

GPU = GpuUuid("GPU-0")
GRANT = Grant("n", "p", "uid", "main", ("slot-0",), (Share(GPU, MiB(1), Percent(10)),), {GPU: 0}, True, "hami")
LIMITS = Policy((GpuLimit(GPU, Bytes(1 << 20), Percent(10), Percent(10)),), True, True, ComputePolicy.HARD)
UID = "0a1b2c3d-1111-2222-3333-444455556666"
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def running(program: str, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """The program, once it says that it holds what it should."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


class Specs:
    """Takes away nothing."""

    def remove(self, grant: Grant) -> None:
        """As if it were gone."""

    def gc(self, uids: frozenset[str]) -> None:
        """As if none were left."""

    def slots(self) -> frozenset[str]:
        """None has a spec."""
        return frozenset()


class Setting:
    """A collector whose only grant belongs to a pod that is gone."""

    def __init__(self, root: Path) -> None:
        self.now = 0.0
        self.store = ContainerStore(root)
        self.folder = self.store.write(GRANT, LIMITS)
        self.grants = GrantLedger(self.store.load())
        self.collector = self.collect()

    def collect(self, runs: Callable[[str, str], bool] | None = None) -> GrantCollector:
        """A collector, with the agent's own way to see who runs or without."""
        specs, clock = cast("Any", Specs()), lambda: self.now
        return GrantCollector(cast("Any", None), PodCache(), self.grants, self.store, specs, lambda: None, clock, runs)

    def sync(self) -> int:
        """The pods are listed; return how many grants are left."""
        asyncio.run(self.collector.sync([], float("inf")))
        asyncio.run(self.collector.release_lingering())
        return len(list(self.grants.keys()))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


@pytest.fixture
def foreign(setting: Setting) -> Iterator[None]:
    """A program that never ends, with a descriptor of the usage file."""
    with running(HOLD, setting.folder / grants.USAGE_FILE, str(usage.LOCKS_OFFSET + 7)):
        yield


def test_without_a_program_it_goes_at_once(setting: Setting) -> None:
    assert setting.sync() == 0
    assert not setting.folder.exists()


@pytest.mark.usefixtures("foreign")
def test_a_passed_descriptor_keeps_a_grant_for_a_time_only(setting: Setting) -> None:
    for setting.now in (0.0, 1.0, grant_collector.LINGER_SECONDS - 1):
        assert setting.sync() == 1
        assert setting.collector.lingering
    setting.now = grant_collector.LINGER_SECONDS
    assert setting.sync() == 0
    assert not setting.collector.lingering
    assert not setting.folder.exists()


@pytest.mark.usefixtures("foreign")
def test_where_processes_are_seen_a_passed_descriptor_keeps_nothing(setting: Setting, tmp_path: Path) -> None:
    """As where the agent has the node's pid namespace."""
    with running(HOLD, setting.folder / grants.USAGE_FILE, str(usage.LOCKS_OFFSET + 8)) as own:
        proc = tmp_path / "proc"
        folder = proc / str(own.pid)
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(f"0::/kubepods/pod{UID}/{'ab' * 32}\n")
        for file in ("comm", "stat"):
            (folder / file).symlink_to(f"/proc/{own.pid}/{file}")
        owners = LockOwners(ProcessTable(proc), setting.store)
        assert owners.runs(GRANT.pod_uid, "main") is False, "neither is a process of this pod"
        renamed = ContainerStore(setting.store.root)
        renamed.write(dataclasses.replace(GRANT, pod_uid=UID), LIMITS)
        os.link(setting.folder / grants.USAGE_FILE, tmp_path / "held")
        (tmp_path / "held").replace(renamed.of(UID, "main") / grants.USAGE_FILE)
        assert owners.runs(UID, "main") is True
    assert owners.runs(UID, "main") is False, "only the other pod's program is left"
    setting.collector = setting.collect(owners.runs)
    assert setting.sync() == 0


def test_a_lease_keeps_no_container_from_starting(setting: Setting) -> None:
    """As after a restart of the container, while another pod has a lease on its policy."""
    file = setting.folder / grants.POLICY_FILE
    before = file.stat().st_ino
    with running(LEASE, file):
        setting.store.write(GRANT, LIMITS)
        assert file.stat().st_ino != before


def test_the_files_of_a_running_container_are_never_replaced(setting: Setting) -> None:
    """As when its grant was damaged, and is written again."""
    files = [setting.folder / name for name in (grants.POLICY_FILE, grants.USAGE_FILE)]
    before = [file.stat().st_ino for file in files]
    (setting.folder / grants.GRANT_FILE).write_bytes(b"damaged")
    with running(LEASE, files[0]), pytest.raises(errors.Unavailable):
        setting.store.write(GRANT, LIMITS, running=True)
    setting.store.write(GRANT, LIMITS, running=True)
    assert [file.stat().st_ino for file in files] == before
    assert setting.store.load().keys() == {("uid", "main")}
