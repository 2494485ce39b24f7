"""The usage file on disk: made for a container, and read without trusting what its programs did to it.

It is read and never mapped: a container may shorten its file, and a mapped file that shrinks kills its reader.
"""

import contextlib
import fcntl
import os
import signal
import struct
from collections.abc import Sequence
from pathlib import Path

from unigpu import errors, usage
from unigpu.units import Bytes
from unigpu.usage import Usage
from unigpu_node import files, locks

ALLOWANCE = 1 << 20
"""Bytes of the node's disk that one container's usage file may take."""
_HEADER = struct.Struct("<II")
_EVERYBODY = 0o666
"""Programs of every user account in it, and the exporter reads it, which isn't root."""
_BLOCK = 512
"""Bytes of one of `st_blocks`."""


def create(file: Path) -> None:
    """Put an empty usage file at `file`, writable for every user of the container. Raises OSError.

    Its blocks are taken now: a full disk refuses a container here, and kills no program that has the file mapped.
    """
    temporary = files.temporary_name(file)
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _EVERYBODY)
    try:
        os.posix_fallocate(descriptor, 0, usage.SIZE)
        os.fchmod(descriptor, _EVERYBODY)
    finally:
        os.close(descriptor)
    temporary.rename(file)


def usable(file: Path) -> bool:
    """Return whether there is a usage file that libvgpu can go on with."""
    try:
        descriptor = open_for_reading(file)
    except OSError:
        return False
    try:
        magic, version = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
        whole = os.fstat(descriptor).st_size in usage.SIZES
        return whole and (magic == 0 or (magic, version) == (usage.MAGIC, usage.VERSION))
    except (OSError, struct.error):
        return False
    finally:
        os.close(descriptor)


def open_for_reading(file: str | Path) -> int:
    """Return a descriptor. A pipe, a terminal, or a lease of a container doesn't block: BlockingIOError for the last.

    Raises OSError.
    """
    return os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)


def read(descriptor: int, gpus: int, most: Sequence[Bytes] | None = None) -> Usage:
    """Return the usage of the first `gpus` GPUs, its living processes asked for by their locks.

    Only the header and what belongs to them is read: the file has room for many more. `most`: see
    `unigpu.usage.unpack`. Raises OSError; Malformed where the file isn't a usage file.
    """
    header = os.pread(descriptor, usage.SLOTS_OFFSET, 0)
    living = locks.living(descriptor) if header[: _HEADER.size] > bytes(_HEADER.size) else ()
    return usage.unpack_living(header, {slot: _records(descriptor, slot) for slot in living}, gpus, most)


def _records(descriptor: int, slot: int) -> tuple[bytes, bytes]:
    """What a slot's process wrote. Less where the file was cut."""
    record = os.pread(descriptor, usage.SLOT_SIZE, usage.SLOTS_OFFSET + slot * usage.SLOT_SIZE)
    return record, os.pread(descriptor, usage.KINDS_SIZE, usage.KINDS_OFFSET + slot * usage.KINDS_SIZE)


def read_totals(descriptor: int, gpus: int) -> list[Bytes]:
    """Return bytes in use of each GPU, those of dead processes that weren't noticed yet included. Raises OSError."""
    return usage.totals(os.pread(descriptor, usage.SLOTS_OFFSET, 0), gpus)


def in_order(file: str | Path) -> bool:
    """Return whether the file has the permissions and the size that it was made with, or isn't there."""
    try:
        status = os.stat(file)  # noqa: PTH116 a thousand at a time
    except OSError:
        return True
    return status.st_mode & _EVERYBODY == _EVERYBODY and not _too_large(status)


def open_to_all(file: Path) -> None:
    """Let every user read and write the file again, where its container has changed that. Raises OSError."""
    if file.stat().st_mode & _EVERYBODY != _EVERYBODY:
        file.chmod(_EVERYBODY)


def cut(file: Path) -> int:
    """Cut a usage file that takes more than ALLOWANCE back to its size; return how many bytes that gave back.

    Programs that have it mapped keep every byte that they use. Attributes that a program gave the file take room too.
    Raises OSError; BlockingIOError while a container has a lease on the file.
    """
    before = file.stat()
    if not _too_large(before):
        return 0
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        # Blocks behind the end count for no size; two changes of the size make every file system drop them.
        os.ftruncate(descriptor, usage.SIZE + 1)
        os.ftruncate(descriptor, usage.SIZE)
        if os.fstat(descriptor).st_blocks * _BLOCK > ALLOWANCE:
            for name in os.listxattr(descriptor):
                if name.startswith("user."):
                    os.removexattr(descriptor, name)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return max(before.st_blocks - after.st_blocks, 0) * _BLOCK


def _too_large(status: os.stat_result) -> bool:
    return status.st_size > ALLOWANCE or status.st_blocks * _BLOCK > ALLOWANCE


def open_to_write(file: Path) -> bool:
    """Return whether a process has the file open for writing, or mapped so: the kernel then refuses a read lease.

    Raises OSError, where there is no such file or its file system has no leases; BlockingIOError while a container has
    a lease on it.
    """
    descriptor = open_for_reading(file)
    try:
        # A process that opens the file just then causes a signal, of a kind that is ignored: SIGIO would end this one.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)


def in_use(file: Path) -> bool:
    """Return whether a program of the container lives that uses its GPUs; False where there is no such file."""
    try:
        descriptor = open_for_reading(file)
    except BlockingIOError:
        return True  # only a living program has a lease
    except OSError:
        return False
    try:
        return locks.any_held(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def used(file: Path, gpus: int) -> list[Bytes] | None:
    """Return bytes that living processes have in use of each GPU; None where the file can't be read."""
    try:
        descriptor = open_for_reading(file)
    except OSError:
        return None
    try:
        return [gpu.used for gpu in read(descriptor, gpus).gpus]
    except (OSError, errors.Malformed):
        return None
    finally:
        os.close(descriptor)
