"""Files on the node: whole or not there, and changed as their readers expect."""

import dataclasses
import errno
import os
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from deviceplugin.node import libvgpu_install
from deviceplugin.store import files
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore
from unigpu import cdi, errors, policy, usage
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.policy import GpuLimit, Policy
from unigpu.units import Bytes, GpuUuid, MiB, Percent
from unigpu_node import files as node_files

GPU = GpuUuid("GPU-a")
GRANT = Grant("n", "p", "u", "c", ("s",), (Share(GPU, MiB(1), Percent(1)),), {GPU: 0}, True, "unigpu", boot="b")


def limits(memory: int) -> Policy:
    return Policy((GpuLimit(GPU, Bytes(memory), Percent(1), Percent(memory)),), True, True)


def sequence(folder: Path) -> int:
    number: int = struct.unpack_from("<I", (folder / "policy").read_bytes(), policy.SEQUENCE_OFFSET)[0]
    return number


def test_made_whatever_the_mask(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        folder = ContainerStore(tmp_path / "containers").write(GRANT, limits(5))
    finally:
        os.umask(mask)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}
    assert modes == {"grant.json": 0o644, "policy": 0o644, "usage": 0o666}
    assert (folder / "usage").read_bytes() == bytes(usage.SIZE)
    assert policy.unpack((folder / "policy").read_bytes()) == limits(5)
    (kept,) = ContainerStore(tmp_path / "containers").load().values()
    assert kept.grant == GRANT
    assert kept.prepared == (folder / "grant.json").stat().st_mtime


def test_policy_changes_in_place(tmp_path: Path) -> None:
    folders = ContainerStore(tmp_path)
    folder = folders.write(GRANT, limits(5))
    inode = (folder / "policy").stat().st_ino
    assert folders.limit("u", "c", limits(6))
    assert policy.unpack((folder / "policy").read_bytes()) == limits(6)
    assert (sequence(folder), (folder / "policy").stat().st_ino) == (2, inode)
    assert not folders.limit("u", "c", limits(6))
    assert sequence(folder) == 2


def test_in_use_while_a_program_holds_its_lock(tmp_path: Path) -> None:
    folders = ContainerStore(tmp_path)
    assert not folders.in_use("u", "c")
    file = folders.write(GRANT, limits(5)) / "usage"
    assert not folders.in_use("u", "c")
    lock = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX, 1, int(sys.argv[2]));"
    wait = "print(flush=True); sys.stdin.read()"
    last = usage.LOCKS_OFFSET + usage.SLOT_COUNT - 1
    with subprocess.Popen(
        [sys.executable, "-c", lock + wait, str(file), str(last)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        assert folders.in_use("u", "c")
        program.kill()
        program.wait()
        assert not folders.in_use("u", "c")


def test_no_policy_yet(tmp_path: Path) -> None:
    assert not ContainerStore(tmp_path).limit("u", "c", limits(6))


def test_reader_never_sees_half_a_policy(tmp_path: Path) -> None:
    folders = ContainerStore(tmp_path)
    folder = folders.write(GRANT, limits(1))
    done = threading.Event()
    seen: set[int] = set()
    torn: list[Policy] = []

    def read() -> None:
        descriptor = os.open(folder / "policy", os.O_RDONLY)
        while not done.is_set():
            before = os.pread(descriptor, 4, policy.SEQUENCE_OFFSET)
            content = os.pread(descriptor, policy.SIZE, 0)
            after = os.pread(descriptor, 4, policy.SEQUENCE_OFFSET)
            if before != after or before[0] & 1:
                continue
            (gpu,) = (found := policy.unpack(content)).gpus
            seen.add(gpu.memory)
            if int(gpu.memory) != int(gpu.ceiling):
                torn.append(found)
        os.close(descriptor)

    reader = threading.Thread(target=read)
    reader.start()
    number = 1
    while len(seen) < 20:
        number += 1
        folders.limit("u", "c", limits(number))
    done.set()
    reader.join()
    assert not torn


@pytest.mark.parametrize("content", [b"", b"short", bytes(policy.SIZE + 1)])
def test_damaged_policy_is_repaired_in_place_and_logged_with_its_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    folders = ContainerStore(tmp_path)
    folder = folders.write(GRANT, limits(5))
    file = folder / "policy"
    inode = file.stat().st_ino
    file.write_bytes(content)
    assert folders.limit("u", "c", limits(6))
    assert policy.unpack(file.read_bytes()) == limits(6)
    assert (sequence(folder) % 2, file.stat().st_ino) == (0, inode)
    assert caplog.records[0].getMessage() == "damaged policy file repaired"
    assert vars(caplog.records[0])["unigpu_fields"]["file"] == file


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (bytes(usage.SIZE - 1) + b"x", True),
        (struct.pack("<II", usage.MAGIC, usage.VERSION) + bytes(usage.SIZE - 8), True),
        (struct.pack("<II", usage.MAGIC, usage.VERSION + 1) + bytes(usage.SIZE - 8), False),
        (b"x", False),
        (bytes(usage.SIZE + 1), False),
    ],
)
def test_usage_is_kept_where_it_can_be_read(tmp_path: Path, content: bytes, kept: bool) -> None:
    folders = ContainerStore(tmp_path)
    file = folders.write(GRANT, limits(5)) / "usage"
    file.write_bytes(content)
    folders.write(GRANT, limits(5))
    assert file.read_bytes() == (content if kept else bytes(usage.SIZE))


def test_usage_starts_anew_after_a_boot(tmp_path: Path) -> None:
    folders = ContainerStore(tmp_path)
    file = folders.write(GRANT, limits(5)) / "usage"
    file.write_bytes(bytes(usage.SIZE - 1) + b"x")
    folders.write(dataclasses.replace(GRANT, boot="another"), limits(5))
    assert file.read_bytes() == bytes(usage.SIZE)


def test_removed_with_the_pods_folder(tmp_path: Path) -> None:
    folders = ContainerStore(tmp_path)
    folders.write(GRANT, limits(5))
    folders.write(dataclasses.replace(GRANT, container="d"), limits(5))
    folders.remove("u", "c")
    assert list(folders.names()) == [("u", "d")]
    folders.remove("u", "d")
    folders.remove("u", "d")
    assert list(tmp_path.iterdir()) == []


def test_grant_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    folders = ContainerStore(tmp_path)
    folder = folders.write(GRANT, limits(5))
    (folder / "grant.json").write_text("{")
    assert folders.load() == {}
    assert list(folders.names()) == [("u", "c")]


def test_spec_is_removed_only_by_its_owner(tmp_path: Path) -> None:
    specs = CdiStore(tmp_path / "cdi")
    assert specs.slots() == []
    first, second = tmp_path / "first", tmp_path / "second"
    specs.write("slot-0001", cdi.container_edits(first))
    (tmp_path / "cdi" / "nvidia.json").touch()
    assert specs.slots() == ["slot-0001"]
    assert specs.owner("slot-0001") == first
    assert not specs.remove("slot-0001", second)
    assert specs.remove("slot-0001", first)
    assert not specs.remove("slot-0001", first)
    assert specs.owner("slot-0001") is None
    assert specs.stale("slot-0001", first) == 0
    assert 0 < specs.stale("slot-0001", second) <= 1
    assert specs.stale("slot-0002", second) == 0
    assert [entry.name for entry in (tmp_path / "cdi").iterdir()] == ["nvidia.json"]


def test_spec_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    specs = CdiStore(tmp_path)
    writers: dict[str, Callable[[Path], None]] = {
        cdi.file_name("slot-0001"): lambda path: specs.write("slot-0001", cdi.container_edits(path)),
        cdi.COMMON_FILE: lambda path: specs.write_common(cdi.common_edits(path, path, path)),
    }
    for name, write in writers.items():
        write(tmp_path / "one")
        inode = (tmp_path / name).stat().st_ino
        write(tmp_path / "one")
        assert (tmp_path / name).stat().st_ino == inode
        write(tmp_path / "other")
        assert "other" in (tmp_path / name).read_text()
    assert specs.slots() == ["slot-0001"]


def test_library_is_named_by_its_content(tmp_path: Path) -> None:
    image, folder = tmp_path / "image.so", tmp_path / "lib"
    image.write_bytes(b"one")
    first = libvgpu_install.install(image, folder)
    assert first == libvgpu_install.install(image, folder)
    assert stat.S_IMODE(first.library.stat().st_mode) == 0o755
    image.write_bytes(b"two")
    second = libvgpu_install.install(image, folder, in_use=f"... {first.library} ...")
    assert first.library.exists()
    second = libvgpu_install.install(image, folder)
    assert second.library.read_bytes() == b"two"
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(["anchor", "ld.so.preload", second.library.name])
    assert sorted(entry.name for entry in second.anchor.iterdir()) == ["libvgpu.so", "policy", "usage"]
    assert all(entry.read_bytes() == b"" for entry in second.anchor.iterdir())


def test_no_library(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="--library"):
        libvgpu_install.install(tmp_path / "none", tmp_path)


def test_a_failed_write_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as os.write does: without a file's name

    monkeypatch.setattr(node_files, "write", full)
    specs = CdiStore(tmp_path / "cdi")
    with pytest.raises(errors.Unavailable, match=r"^can't write .*/unigpu.dev-vgpu-s.json: No space left on device$"):
        specs.write("s", cdi.container_edits(tmp_path))
    store = ContainerStore(tmp_path / "containers")
    with pytest.raises(errors.Unavailable, match=r"^can't write .*/u/c/policy: No space left on device$"):
        store.write(GRANT, limits(5))


def test_unwritable(tmp_path: Path) -> None:
    assert files.unwritable(tmp_path) is None
    assert files.unwritable(tmp_path / "not" / "there") is None
    (tmp_path / "file").touch()
    assert files.unwritable(tmp_path / "file") == f"can't write {tmp_path}/file: {tmp_path}/file is not a folder"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"f_flag": os.ST_RDONLY}, "Read-only file system"),
        ({"f_bavail": 0}, "less than 1 MiB is free on its file system"),
        ({"f_favail": 0}, "no inode is free on its file system"),
        ({"f_blocks": 0, "f_bavail": 0, "f_files": 0, "f_favail": 0}, None),
    ],
)
def test_unwritable_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], says: str | None
) -> None:
    space = {"f_flag": 0, "f_blocks": 9, "f_bavail": 1 << 20, "f_frsize": 4096, "f_files": 9, "f_favail": 9, **fields}
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(**space))
    assert files.unwritable(tmp_path) == (f"can't write {tmp_path}: {says}" if says else None)
