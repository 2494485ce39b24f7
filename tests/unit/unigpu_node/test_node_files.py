"""Containers' folders, and the files in them."""

import contextlib
import dataclasses
import fcntl
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unigpu import errors, grants, policy, usage
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.policy import GpuLimit, Policy
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, MiB, Percent
from unigpu_node import containers, files, locks, policy_file, usage_file
from unigpu_node.heartbeats import Heartbeats

GPU = GpuUuid("GPU-1")
GRANT = Grant("team", "training", "uid-1", "main", ("s1",), (Share(GPU, MiB(1), Percent(10)),), {GPU: 0}, True, "hami")
LIMITS = Policy((GpuLimit(GPU, Bytes(1 << 20), Percent(10), Percent(80)),), True, True, ComputePolicy.SOFT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = containers.folder(tmp_path, ("uid-1", "main"))
    found.mkdir(parents=True)
    files.write(found / grants.GRANT_FILE, grants.dump(GRANT).encode())
    policy_file.create(found / grants.POLICY_FILE, LIMITS)
    usage_file.create(found / grants.USAGE_FILE)
    return found


def test_a_file_is_whole_and_has_its_mode_and_time(tmp_path: Path) -> None:
    file = tmp_path / "x"
    files.write(file, b"one")
    files.write(file, b"two", mode=0o600, durable=True, modified_ns=5)
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600 and file.stat().st_mtime_ns == 5
    assert list(tmp_path.iterdir()) == [file]


def test_grants_of_all_containers(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "uid-2/broken").mkdir(parents=True)
    (tmp_path / "uid-2/broken" / grants.GRANT_FILE).write_bytes(b"\xff")
    (tmp_path / "uid-2/foreign").mkdir()
    (tmp_path / "uid-2/foreign" / grants.GRANT_FILE).write_text(grants.dump(GRANT))
    (tmp_path / "uid-3").touch()
    (tmp_path / "uid-4/empty").mkdir(parents=True)
    found, unreadable = containers.read_all(tmp_path)
    assert {key: stored.grant for key, stored in found.items()} == {("uid-1", "main"): GRANT}
    assert set(unreadable) == {("uid-2", "broken"), ("uid-2", "foreign"), ("uid-4", "empty")}
    assert "not UTF-8 text" in unreadable["uid-2", "broken"]
    assert "of pod uid-1" in unreadable["uid-2", "foreign"]
    assert {key for key, _ in containers.stamps(tmp_path)} == {
        ("uid-1", "main"),
        ("uid-2", "broken"),
        ("uid-2", "foreign"),
    }
    assert list(containers.by_pod(found)) == ["uid-1"]
    assert not [*containers.keys(tmp_path / "absent"), *containers.stamps(tmp_path / "absent")]


def test_a_policy_is_changed_in_place(folder: Path) -> None:
    file = folder / grants.POLICY_FILE
    inode = file.stat().st_ino
    assert policy_file.read(file) == LIMITS
    assert not policy_file.rewrite(file, LIMITS)
    other = dataclasses.replace(LIMITS, priority=1)
    assert policy_file.rewrite(file, other)
    assert policy_file.read(file) == other
    assert file.stat().st_ino == inode
    assert policy_file.sequence_of(file.read_bytes()) == 2


def test_a_policy_that_a_killed_writer_left_is_finished(folder: Path) -> None:
    file = folder / grants.POLICY_FILE
    with file.open("r+b") as opened:
        opened.seek(policy.SEQUENCE_OFFSET)
        opened.write(policy.SEQUENCE.pack(7))
    with pytest.raises(policy_file.Busy):
        policy_file.read(file)
    assert policy_file.rewrite(file, LIMITS)
    assert policy_file.sequence_of(file.read_bytes()) == 8


@pytest.mark.parametrize("content", [b"", b"x", bytes(100), bytes(policy.SIZE), bytes(policy.SIZE + 1)])
def test_what_is_no_policy(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "policy"
    file.write_bytes(content)
    with pytest.raises(errors.Malformed):
        policy_file.read(file)
    if len(content) != policy.SIZE:
        with pytest.raises(errors.Malformed):
            policy_file.rewrite(file, LIMITS)
        with pytest.raises(errors.Malformed):
            policy_file.Mapped(file)


def test_live_state_through_the_map(folder: Path) -> None:
    file = folder / grants.POLICY_FILE
    mapped, heartbeats = policy_file.Mapped(file), Heartbeats()
    try:
        mapped.set_live_state(0, 42.5, 10)
        assert policy_file.read_live_rates(file, 1, 0) == (42.5,) or policy.FRESH_NS <= 0
        assert heartbeats.write(5_000_000_000, [mapped.heartbeat]) == []
        assert policy_file.read_live_rates(file, 1, 5_000_000_001) == (42.5,)
        assert policy_file.read_live_rates(file, 1, 5_000_000_000 + policy.FRESH_NS) == (0.0,)
        assert mapped.sequence == 0
        assert policy.unpack(mapped.content()) == LIMITS
        os.truncate(file, 8)
        with pytest.raises(errors.Malformed):
            mapped.check()
        with pytest.raises(errors.Malformed):
            policy_file.read_live_rates(file, 1, 0)
        os.truncate(file, 0)
        assert heartbeats.write(6_000_000_000, [mapped.heartbeat]) == [0]
    finally:
        mapped.close()
        heartbeats.close()


HOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that lives in slot 3 with 4096 bytes in use."""
    file = folder / grants.USAGE_FILE
    start = usage.SLOTS_OFFSET + 3 * usage.SLOT_SIZE
    with file.open("r+b") as opened:
        opened.write(struct.pack("<II", usage.MAGIC, usage.VERSION))
        opened.seek(start)
        opened.write(struct.pack("<IIQ", 7, 1, 1))
        opened.seek(start + usage.SLOT_GPUS_OFFSET)
        opened.write(struct.pack("<Q", 4096))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file), str(usage.LOCKS_OFFSET + 3)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_who_lives_is_known_by_locks(folder: Path, holder: subprocess.Popen[str]) -> None:
    file = folder / grants.USAGE_FILE
    assert usage_file.in_use(file)
    assert usage_file.used(file, 1) == [4096]
    descriptor = usage_file.open_for_reading(file)
    try:
        assert [slot for slot in range(5) if locks.held(descriptor, slot)] == [3]
        assert not locks.held(descriptor, 4, 100)
        assert usage_file.read_totals(descriptor, 1) == [0]
        holder.kill()
        holder.wait()
        assert not locks.any_held(descriptor)
    finally:
        os.close(descriptor)
    assert not usage_file.in_use(file)
    assert usage_file.used(file, 1) == [0]


def test_what_is_no_usage_file(tmp_path: Path, folder: Path) -> None:
    assert usage_file.usable(folder / grants.USAGE_FILE)
    assert not usage_file.in_use(tmp_path / "absent")
    assert usage_file.used(tmp_path / "absent", 1) is None
    short = tmp_path / "short"
    short.write_bytes(b"x")
    assert usage_file.used(short, 1) is None
    assert not usage_file.usable(short)
    assert not usage_file.in_use(tmp_path)
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"x" * usage.SIZE)
    assert not usage_file.usable(foreign)
    assert usage_file.used(foreign, 1) is None


def test_a_usage_file_takes_its_blocks(folder: Path) -> None:
    status = (folder / grants.USAGE_FILE).stat()
    assert status.st_size == usage.SIZE and status.st_blocks * 512 >= usage.SIZE
    assert status.st_mode & 0o777 == 0o666
    assert fcntl.F_GETLK  # the locks lie past the end of the file
    assert usage.LOCKS_OFFSET > usage.SIZE


LOCKER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
kind = {"write": fcntl.LOCK_EX, "read": fcntl.LOCK_SH}[sys.argv[2]]
for argument in sys.argv[3:]:
    start, step, count, length = map(int, argument.split(","))
    for number in range(count):
        fcntl.lockf(descriptor, kind, length, start + number * step)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding(program: str, *arguments: str | Path) -> Iterator[None]:
    """A process that runs the program, which says `held` once it holds what it should."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each question to the kernel about locks."""
    asked: list[int] = []
    real = fcntl.fcntl

    def counted(descriptor: int, command: int, argument: bytes) -> bytes:
        asked.append(command)
        return real(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", counted)
    return asked


@pytest.fixture
def descriptor(folder: Path) -> Iterator[int]:
    """The usage file, with every slot marked as taken."""
    file = folder / grants.USAGE_FILE
    with file.open("r+b") as opened:
        opened.write(struct.pack("<II", usage.MAGIC, usage.VERSION))
        for slot in range(usage.SLOT_COUNT):
            opened.seek(usage.SLOTS_OFFSET + slot * usage.SLOT_SIZE)
            opened.write(struct.pack("<IIQ", slot + 1, 1, 1))
    found = usage_file.open_for_reading(file)
    yield found
    os.close(found)


def test_dead_processes_cost_three_questions(descriptor: int, questions: list[int]) -> None:
    assert usage_file.read(descriptor, 1).processes == ()
    assert len(questions) == 3


def test_each_living_process_costs_two_questions(folder: Path, descriptor: int, questions: list[int]) -> None:
    with holding(LOCKER, folder / grants.USAGE_FILE, "write", f"{usage.LOCKS_OFFSET + 5},10,40,1"):
        found = usage_file.read(descriptor, 1)
    assert [process.slot for process in found.processes] == list(range(5, 405, 10))
    assert len(questions) <= 3 + 2 * 40


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("write", f"{usage.LOCKS_OFFSET + usage.SLOT_COUNT},2,500,1"),
        ("read", "0,2,500,1"),
        ("read", f"{usage.LOCKS_OFFSET},2,500,1"),
        ("write", f"{usage.LOCKS_OFFSET},2,500,1"),
        ("write", f"{usage.LOCKS_OFFSET},0,1,{usage.SLOT_COUNT}"),
        ("write", f"{usage.LOCKS_OFFSET + 1000},0,1,0"),
    ],
)
def test_locks_that_libvgpu_doesnt_take(
    folder: Path, descriptor: int, questions: list[int], kind: str, taken: str
) -> None:
    with holding(LOCKER, folder / grants.USAGE_FILE, kind, taken):
        with pytest.raises(usage.Implausible, match=r"locks|living"):
            usage_file.read(descriptor, 1)
        assert len(questions) <= 3 + 2 * usage.MAX_PROCESSES
        assert usage_file.used(folder / grants.USAGE_FILE, 1) is None


def disk(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_a_usage_file_that_takes_the_disk_is_cut_back(folder: Path) -> None:
    file = folder / grants.USAGE_FILE
    assert usage_file.cut(file) == 0
    with file.open("r+b") as opened:
        opened.write(b"kept")
        os.posix_fallocate(opened.fileno(), 0, 8 << 20)
    assert disk(file) >= 8 << 20
    assert usage_file.cut(file) >= 7 << 20
    assert disk(file) <= usage_file.ALLOWANCE
    content = file.read_bytes()
    assert (len(content), content[:4]) == (usage.SIZE, b"kept")


def test_blocks_behind_the_end_are_given_back(folder: Path) -> None:
    file = folder / grants.USAGE_FILE
    keep_size = subprocess.run(["fallocate", "--keep-size", "--length", "8M", file], capture_output=True, text=True)
    assert keep_size.returncode == 0, keep_size.stderr
    assert file.stat().st_size == usage.SIZE and disk(file) >= 8 << 20
    assert usage_file.cut(file) >= 7 << 20
    assert file.stat().st_size == usage.SIZE and disk(file) <= usage_file.ALLOWANCE


def test_permissions_that_a_program_took_away_are_given_back(folder: Path) -> None:
    file = folder / grants.USAGE_FILE
    for mode in (0o000, 0o600, 0o444, 0o666):
        file.chmod(mode)
        usage_file.open_to_all(file)
        assert file.stat().st_mode & 0o777 == 0o666


def test_a_mapped_file_is_cut_back_under_its_program(folder: Path) -> None:
    file = folder / grants.USAGE_FILE
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), usage.SIZE) as mapped:
        os.posix_fallocate(opened.fileno(), 0, 4 << 20)
        mapped[-1] = 7
        assert usage_file.cut(file)
        assert mapped[-1] == 7
    assert file.read_bytes()[-1] == 7


LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, {"write": fcntl.F_WRLCK, "read": fcntl.F_RDLCK}[sys.argv[2]])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_lease_on_the_policy_keeps_nobody_waiting(folder: Path, kind: str) -> None:
    file = folder / grants.POLICY_FILE
    with holding(LEASE, file, kind):
        for attempt in (
            lambda: policy_file.rewrite(file, dataclasses.replace(LIMITS, priority=1)),
            lambda: policy_file.Mapped(file),
        ):
            with pytest.raises(BlockingIOError):
                attempt()
        if kind == "write":
            with pytest.raises(BlockingIOError):
                policy_file.read(file)
            with pytest.raises(BlockingIOError):
                policy_file.read_live_rates(file, 1, 0)
        policy_file.create(file, LIMITS)
        assert policy_file.read(file) == LIMITS


def test_a_lease_on_the_usage_file_keeps_nobody_waiting(folder: Path) -> None:
    file = folder / grants.USAGE_FILE
    with holding(LEASE, file, "write"):
        assert not usage_file.usable(file)
        assert usage_file.in_use(file)
        assert usage_file.used(file, 1) is None
        usage_file.create(file)
        assert usage_file.usable(file)


OPENED_MEANWHILE = """
import fcntl, os, sys
from pathlib import Path
from unigpu_node import usage_file
real, refused = fcntl.fcntl, 0
def interrupted(descriptor, call, *argument):
    global refused
    answer = real(descriptor, call, *argument)
    if call == fcntl.F_SETLEASE and argument == (fcntl.F_RDLCK,):
        child = os.fork()
        if child == 0:
            try:
                os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK)
            except BlockingIOError:
                os._exit(7)
            os._exit(0)
        refused = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return answer
fcntl.fcntl = interrupted
print(usage_file.open_to_write(Path(sys.argv[1])), refused)
"""


def test_a_program_that_opens_the_file_meanwhile_does_no_harm(folder: Path) -> None:
    """The kernel sends the holder of a lease a signal that by default ends it."""
    command = [sys.executable, "-c", OPENED_MEANWHILE, str(folder / grants.USAGE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "False 7\n"), done.stderr


def test_who_has_the_file_open_to_write(folder: Path) -> None:
    file = folder / grants.USAGE_FILE
    assert not usage_file.open_to_write(file)
    with file.open("rb"):
        assert not usage_file.open_to_write(file)
    with file.open("r+b") as opened:
        assert usage_file.open_to_write(file)
        mapped = mmap.mmap(opened.fileno(), usage.SIZE)
    assert usage_file.open_to_write(file)
    mapped.close()
    assert not usage_file.open_to_write(file)
