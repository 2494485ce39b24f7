"""Containers' folders on the node: grant, policy and usage file of each."""

import contextlib
import dataclasses
import fcntl
import logging
import os
import shutil
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deviceplugin.store import files
from unigpu import errors, grants, limits, logs, policy, usage
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.policy import Policy
from unigpu.units import GpuUuid, MiB

logger = logging.getLogger(__name__)

_USAGE_HEADER = struct.Struct("<II")
_FLOCK = struct.Struct("hhqqi0q")
"""The C library's `struct flock`: type, whence, start, length, pid."""


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A folder that was found."""

    grant: Grant
    prepared: float
    """When the container was last prepared, seconds since the epoch."""


class ContainerStore:
    """All of them, under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._writing = threading.Lock()

    def of(self, pod_uid: str, container: str) -> Path:
        """The container's folder, there or not."""
        return Path(grants.folder(self.root, pod_uid, container))

    def load(self) -> dict[tuple[str, str], StoredGrant]:
        """What lies there, by pod UID and container. A folder without a readable grant is left out: its container
        wasn't started, and it goes with its pod."""
        found = {}
        for pod_uid, container in self.names():
            file = self.of(pod_uid, container) / grants.GRANT_FILE
            try:
                found[pod_uid, container] = StoredGrant(grants.load(file.read_text()), file.stat().st_mtime)
            except (OSError, UnicodeDecodeError, errors.Malformed) as error:
                logs.event(logger, "grant can't be read", logging.WARNING, file=file, error=error)
        return found

    def names(self) -> Iterator[tuple[str, str]]:
        """Pod UID and container of each folder."""
        with contextlib.suppress(FileNotFoundError):
            for pod in sorted(self.root.iterdir()):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    for container in sorted(pod.iterdir()):
                        yield pod.name, container.name

    def write(self, grant: Grant, wanted: Policy) -> Path:
        """Make or renew the container's folder, and give its path.

        Policy and usage stay the files that they are, because a container may have them mapped; the usage file starts
        anew only after a boot. Raises OSError.
        """
        folder = self.of(grant.pod_uid, grant.container)
        with self._writing:
            folder.mkdir(parents=True, exist_ok=True)
            self._usage(folder, grant)
            try:
                _rewrite(folder / grants.POLICY_FILE, wanted)
            except (FileNotFoundError, errors.Malformed):
                files.write(folder / grants.POLICY_FILE, policy.pack(wanted))
            files.write(folder / grants.GRANT_FILE, grants.dump(grant).encode())
        return folder

    def limit(self, pod_uid: str, container: str, wanted: Policy) -> bool:
        """Put limits in force for a container that may be running.

        False where they already are, or where the container has no policy yet. Raises OSError, Malformed.
        """
        with self._writing:
            try:
                return _rewrite(self.of(pod_uid, container) / grants.POLICY_FILE, wanted)
            except FileNotFoundError:
                return False

    def change(self, pod_uid: str, container: str, shares: Sequence[Share], changes: int, wanted: Policy) -> bool:
        """Put limits in force like `limit`, and make the grant say what of each GPU they give."""
        with self._writing:
            folder = self.of(pod_uid, container)
            file = folder / grants.GRANT_FILE
            try:
                changed = _rewrite(folder / grants.POLICY_FILE, wanted)
                text, stamp = file.read_text(), file.stat().st_mtime_ns
            except FileNotFoundError:
                return False
            grant = dataclasses.replace(grants.load(text), shares=tuple(shares), changes=changes)
            if text != grants.dump(grant):
                # This time tells when the container was prepared.
                files.write(file, grants.dump(grant).encode(), modified_ns=stamp)
            return changed

    def beyond(self, pod_uid: str, container: str, shares: Sequence[Share]) -> dict[GpuUuid, MiB]:
        """What the container's living programs have in use where that is more than these shares.

        Nothing where its account can't be read: it can't be told then what is in use.
        """
        try:
            descriptor = os.open(self.of(pod_uid, container) / grants.USAGE_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            # The totals have the dead in them too, and are little to read.
            most = usage.totals(os.pread(descriptor, usage.SLOTS_OFFSET, 0), len(shares))
            if not limits.held_memory(shares, most):
                return {}
            content = os.pread(descriptor, usage.SIZE, 0)
            found = usage.unpack(content, len(shares), lambda slot: _held(descriptor, slot, 1))
        except (OSError, errors.Malformed):
            return {}
        finally:
            os.close(descriptor)
        return limits.held_memory(shares, [gpu.used for gpu in found.gpus])

    def in_use(self, pod_uid: str, container: str) -> bool:
        """Whether a program of the container lives that uses its GPUs: each holds a lock on its usage file."""
        try:
            descriptor = os.open(self.of(pod_uid, container) / grants.USAGE_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _held(descriptor, 0, usage.SLOT_COUNT)
        finally:
            os.close(descriptor)

    def remove(self, pod_uid: str, container: str) -> None:
        """Forget the container. What is gone already is fine."""
        with self._writing, contextlib.suppress(OSError):
            shutil.rmtree(self.of(pod_uid, container), ignore_errors=True)
            (self.root / pod_uid).rmdir()

    def _usage(self, folder: Path, grant: Grant) -> None:
        file = folder / grants.USAGE_FILE
        try:
            boot = grants.load((folder / grants.GRANT_FILE).read_text()).boot
        except (OSError, UnicodeDecodeError, errors.Malformed):
            boot = ""
        # Its processes are dead when their container starts anew: only what they counted is kept.
        if boot == grant.boot and _usable(file):
            return
        beside = file.with_name(f".{file.name}.tmp")
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            # Its blocks are taken now: a full disk refuses a container here, and kills no program that has it mapped.
            os.posix_fallocate(descriptor, 0, usage.SIZE)
            os.fchmod(descriptor, 0o666)
        finally:
            os.close(descriptor)
        beside.rename(file)


def _held(descriptor: int, slot: int, count: int) -> bool:
    """Whether anybody would be in the way of a lock on these slots' bytes of the usage file. Raises OSError."""
    question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, usage.LOCKS_OFFSET + slot, count, 0)
    found: tuple[int, ...] = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    return found[0] != fcntl.F_UNLCK


def _usable(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            magic, version = _USAGE_HEADER.unpack(opened.read(_USAGE_HEADER.size))
        return file.stat().st_size == usage.SIZE and (magic == 0 or (magic, version) == (usage.MAGIC, usage.VERSION))
    except (OSError, struct.error):
        return False


def _rewrite(file: Path, wanted: Policy) -> bool:
    """Change a policy file in place, as its readers expect it. Raises Malformed for a file of another size."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        present = os.pread(descriptor, policy.SIZE + 1, 0)
        if len(present) != policy.SIZE:
            raise errors.Malformed(f"policy file has {len(present)} bytes, not {policy.SIZE}")
        (sequence,) = policy.SEQUENCE.unpack_from(present, policy.SEQUENCE_OFFSET)
        content = policy.pack(wanted)
        if sequence % 2 == 0 and policy.guarded(present) == policy.guarded(content):
            return False
        # An odd sequence is an earlier writer's that was killed: it goes on from there.
        writing = sequence | 1
        os.pwrite(descriptor, policy.SEQUENCE.pack(writing), policy.SEQUENCE_OFFSET)
        for start, end in policy.GUARDED:
            os.pwrite(descriptor, content[start:end], start)
        os.pwrite(descriptor, policy.SEQUENCE.pack((writing + 1) & 0xFFFFFFFF), policy.SEQUENCE_OFFSET)
        return True
    finally:
        os.close(descriptor)
