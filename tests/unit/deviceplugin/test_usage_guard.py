"""Usage files that containers make longer: cut back at once, counted, told of, and never out of sight."""

import asyncio
import contextlib
import logging
import mmap
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import pytest

from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.allocation.usage_guard import QUIET, UsageGuard
from deviceplugin.store.container_store import ContainerStore
from tests.unit.deviceplugin.test_grant_collector import GRANT, LEASE, LIMITS, running
from unigpu import grants, usage
from unigpu.grants import Grant
from unigpu_node import folder_watch, usage_file
from unigpu_node.containers import Key
from unigpu_node.folder_watch import FolderWatch

KEY = (GRANT.pod_uid, GRANT.container)
NEVER = 3600.0
HOLD = """
import sys
file = open(sys.argv[1], "r+b")
print("held", flush=True)
sys.stdin.read()
"""


class Setting:
    """A guard of one container's file, which counts what it does."""

    def __init__(self, root: Path) -> None:
        self.now = 0.0
        self.store = ContainerStore(root / "containers")
        self.file = self.store.write(GRANT, LIMITS) / grants.USAGE_FILE
        self.grants = GrantLedger(self.store.load())
        self.looks = 0
        self.cuts = 0
        self.told: list[tuple[Grant, int]] = []
        real = self.store.out_of_order

        def look(keys: Iterable[Key]) -> list[Key]:
            asked = list(keys)
            self.looks += len(asked)
            return real(asked)

        self.store.out_of_order = look  # type: ignore[method-assign]

    def guard(self, watch: FolderWatch | None = None) -> UsageGuard:
        """A guard that starts now."""
        return UsageGuard(self.store, self.grants, self._tell, self._count, watch, lambda: self.now)

    def _tell(self, grant: Grant, amount: int) -> None:
        self.told.append((grant, amount))

    def _count(self) -> None:
        self.cuts += 1

    def grow(self, amount: int = 4 << 20) -> None:
        """Do what a hostile program does."""
        with self.file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, amount)

    @property
    def small(self) -> bool:
        return self.file.stat().st_blocks * 512 <= usage_file.ALLOWANCE


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


@contextlib.asynccontextmanager
async def guarded(guard: UsageGuard, interval: float = NEVER) -> AsyncIterator[None]:
    task = asyncio.create_task(guard.run(interval))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 files tell no event
            await asyncio.sleep(0.001)


def test_cut_back_as_soon_as_it_grows(setting: Setting) -> None:
    async def grows_twice() -> None:
        async with guarded(setting.guard()):
            await until(lambda: setting.looks >= 1)
            for times in (1, 2):
                setting.grow()
                await until(lambda times=times: setting.cuts == times)  # type: ignore[misc]
                assert setting.small

    asyncio.run(grows_twice())
    ((grant, amount),) = setting.told
    assert grant == GRANT and amount >= 3 << 20


def test_attributes_and_permissions_are_noticed_too(setting: Setting) -> None:
    async def changes_mode() -> None:
        async with guarded(setting.guard()):
            await until(lambda: setting.looks >= 1)
            setting.file.chmod(0)
            await until(lambda: setting.file.stat().st_mode & 0o777 == 0o666)

    asyncio.run(changes_mode())


def test_a_container_that_is_new_is_watched_at_once(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    entered = setting.grants.remove(KEY)
    assert entered is not None

    async def comes_later() -> None:
        guard = setting.guard()
        async with guarded(guard):
            await until(lambda: not guard._awake.is_set())
            setting.grants.enter(entered.grant)
            guard.wake()
            await until(lambda: setting.looks >= 1)
            setting.grow()
            await until(lambda: setting.cuts == 1)

    asyncio.run(comes_later())


def test_a_file_that_is_replaced_is_watched_again(setting: Setting) -> None:
    async def replaced() -> None:
        async with guarded(setting.guard()):
            await until(lambda: setting.looks >= 1)
            usage_file.create(setting.file)
            await until(lambda: setting.looks >= 2)
            setting.grow()
            await until(lambda: setting.cuts == 1)

    asyncio.run(replaced())


def test_what_libvgpu_writes_costs_nothing(setting: Setting) -> None:
    async def maps_it() -> None:
        guard = setting.guard()
        await guard.round(whole=True)
        with setting.file.open("r+b") as opened, mmap.mmap(opened.fileno(), usage.SIZE) as mapped:
            mapped[usage.SLOTS_OFFSET] = 1
            mapped.flush()
            mapped[usage.SIZE - 1] = 1
            await guard.round(whole=False)
        assert setting.looks == 1
        setting.grow()
        await guard.round(whole=False)
        assert (setting.looks, setting.cuts) == (2, 1)

    asyncio.run(maps_it())


def test_a_storm_of_calls_is_one_look_a_round(setting: Setting) -> None:
    """A container can't make the events of others be lost, nor the agent read thousands of them."""

    async def writes_all_the_time() -> None:
        guard = setting.guard()
        await guard.round(whole=True)
        with setting.file.open("r+b") as opened:
            for number in range(20_000):
                os.pwrite(opened.fileno(), b"\1", 0)
                os.fchmod(opened.fileno(), 0o666)
                assert number >= 0
        assert len(os.read(guard._watch.descriptor, 1 << 16)) == 2 * 16

    asyncio.run(writes_all_the_time())


def test_all_files_are_looked_at_where_nothing_can_be_watched(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        inotify_init1 = staticmethod(lambda flags: -1)

    monkeypatch.setattr(folder_watch, "_libc", Full)

    async def grows() -> None:
        async with guarded(setting.guard(), 0.0):
            await until(lambda: setting.looks >= 1)
            setting.grow()
            await until(lambda: setting.cuts == 1)

    asyncio.run(grows())


def test_told_once_in_a_while_and_counted_each_time(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    async def grows_again_and_again() -> None:
        guard = setting.guard()
        for _ in range(3):
            setting.grow()
            await guard.round(whole=True)
        setting.now += QUIET
        setting.grow()
        await guard.round(whole=True)

    with caplog.at_level(logging.WARNING):
        asyncio.run(grows_again_and_again())
    assert (setting.cuts, len(setting.told)) == (4, 2)
    assert [record.getMessage().split(":")[0] for record in caplog.records].count("usage file cut back") == 2


@pytest.fixture
def passed_on(setting: Setting) -> Iterator[int]:
    """A descriptor of the file, as a program of another pod may have it."""
    descriptor = os.open(setting.file, os.O_RDWR)
    with running(HOLD, setting.file):
        yield descriptor
    with contextlib.suppress(OSError):
        os.close(descriptor)


def remnants(setting: Setting) -> list[Path]:
    folder = setting.file.parents[3] / "containers.removed"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_file_that_outlives_its_container_is_cut_back_until_it_is_closed(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = os.open(setting.file, os.O_RDWR)
    setting.grants.remove(KEY)
    setting.store.remove(*KEY)
    assert not setting.file.exists()

    async def grows() -> None:
        guard = setting.guard()
        for _ in range(2):
            os.posix_fallocate(descriptor, 0, 4 << 20)
            await guard.round(whole=True)
            assert os.fstat(descriptor).st_blocks * 512 <= usage_file.ALLOWANCE
        (kept,) = remnants(setting)
        assert kept.stat().st_mode & 0o777 == 0o600
        os.close(descriptor)
        await guard.round(whole=True)
        assert remnants(setting) == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(grows())
    assert setting.cuts == 2
    assert [one.getMessage().split(":")[0] for one in caplog.records] == [
        "usage file of a removed container still open"
    ]


def test_a_file_that_is_only_read_goes_with_its_container(setting: Setting) -> None:
    with setting.file.open("rb"):
        setting.store.remove(*KEY)
    assert not setting.file.exists()
    assert remnants(setting) == []


@pytest.mark.usefixtures("passed_on")
def test_a_file_that_is_replaced_while_a_program_has_it_open_is_kept(setting: Setting) -> None:
    setting.file.write_bytes(b"not a usage file")
    before = setting.file.stat().st_ino
    setting.store.write(GRANT, LIMITS)
    assert setting.file.stat().st_ino != before
    assert [file.stat().st_ino for file in remnants(setting)] == [before]


def test_a_lease_keeps_a_file_and_nobody_waits(setting: Setting) -> None:
    with running(LEASE.replace("F_RDLCK", "F_WRLCK"), setting.file):
        setting.store.remove(*KEY)
        assert len(remnants(setting)) == 1
        assert list(setting.store.remnants.mend().values()) in ([], [0])
    setting.store.remnants.mend()
    assert remnants(setting) == []
