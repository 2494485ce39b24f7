"""Containers' folders on the node: the grant, policy and usage file of each."""

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
    """A container's grant, as it lies on the disk."""

    grant: Grant
    prepared: float
    """When the container was last prepared to start, seconds since the epoch."""


class ContainerStore:
    """All containers' folders, under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._writing = threading.Lock()

    def of(self, pod_uid: str, container: str) -> Path:
        """Return the container's folder, whether or not it exists."""
        return Path(grants.folder(self.root, pod_uid, container))

    def load(self) -> dict[tuple[str, str], StoredGrant]:
        """Return all grants, by pod UID and container.

        A folder whose grant can't be read is logged with the file's path and left out; it goes with its pod.
        """
        found = {}
        for pod_uid, container in self.names():
            file = self.of(pod_uid, container) / grants.GRANT_FILE
            try:
                found[pod_uid, container] = StoredGrant(grants.load(file.read_text()), file.stat().st_mtime)
            except (OSError, UnicodeDecodeError, errors.Malformed) as error:
                logs.event(logger, "grant can't be read", logging.WARNING, file=file, reason=error)
        return found

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield pod UID and container of each folder."""
        with contextlib.suppress(OSError):
            for pod in sorted(self.root.iterdir()):
                with contextlib.suppress(OSError):
                    for container in sorted(pod.iterdir()):
                        yield pod.name, container.name

    def write(self, grant: Grant, wanted: Policy) -> Path:
        """Create or renew the container's folder and return its path.

        Policy and usage remain the same files, because a container may have them mapped; only after a boot is the usage
        file a new one. Raises Unavailable.
        """
        folder = self.of(grant.pod_uid, grant.container)
        with self._writing:
            with files.reporting("create", folder):
                folder.mkdir(parents=True, exist_ok=True)
            with files.reporting("write", folder / grants.USAGE_FILE):
                self._usage(folder, grant)
            file = folder / grants.POLICY_FILE
            with files.reporting("write", file):
                try:
                    _rewrite(file, wanted)
                except FileNotFoundError:
                    files.write(file, policy.pack(wanted))
            with files.reporting("write", folder / grants.GRANT_FILE):
                files.write(folder / grants.GRANT_FILE, grants.dump(grant).encode())
        return folder

    def limit(self, pod_uid: str, container: str, wanted: Policy) -> bool:
        """Put limits in force for a container that may be running.

        Return False where they already are, or where the container has no policy yet. Raises Unavailable.
        """
        file = self.of(pod_uid, container) / grants.POLICY_FILE
        with self._writing, files.reporting("write", file):
            try:
                return _rewrite(file, wanted)
            except FileNotFoundError:
                return False

    def change(self, pod_uid: str, container: str, shares: Sequence[Share], changes: int, wanted: Policy) -> bool:
        """Put limits in force like `limit`, and write these shares into the grant.

        Raises Unavailable, and Malformed where the grant can't be read.
        """
        changed = self.limit(pod_uid, container, wanted)
        file = self.of(pod_uid, container) / grants.GRANT_FILE
        with self._writing, files.reporting("write", file):
            try:
                text, stamp = file.read_text(), file.stat().st_mtime_ns
                found = grants.load(text)
            except FileNotFoundError:
                return False
            except (UnicodeDecodeError, errors.Malformed) as error:
                raise errors.Malformed(f"{file}: {error}") from error
            grant = dataclasses.replace(found, shares=tuple(shares), changes=changes)
            if text != grants.dump(grant):
                # The file's time is the time at which the container was prepared.
                files.write(file, grants.dump(grant).encode(), modified_ns=stamp)
            return changed

    def beyond(self, pod_uid: str, container: str, shares: Sequence[Share]) -> dict[GpuUuid, MiB]:
        """Return what the container's living programs have in use on GPUs where that exceeds these shares.

        Empty where the usage file can't be read.
        """
        try:
            descriptor = os.open(self.of(pod_uid, container) / grants.USAGE_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            # The totals include programs that have died, and are quick to read.
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
        """Return whether a program of the container uses its GPUs: each holds a lock on the usage file."""
        try:
            descriptor = os.open(self.of(pod_uid, container) / grants.USAGE_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _held(descriptor, 0, usage.SLOT_COUNT)
        finally:
            os.close(descriptor)

    def remove(self, pod_uid: str, container: str) -> None:
        """Remove the container's folder, if it exists."""
        with self._writing, contextlib.suppress(OSError):
            shutil.rmtree(self.of(pod_uid, container), ignore_errors=True)
            (self.root / pod_uid).rmdir()

    def _usage(self, folder: Path, grant: Grant) -> None:
        file = folder / grants.USAGE_FILE
        try:
            boot = grants.load((folder / grants.GRANT_FILE).read_text()).boot
        except (OSError, UnicodeDecodeError, errors.Malformed):
            boot = ""
        # Processes of an earlier run are dead by now; their totals are kept.
        if boot == grant.boot and _usable(file):
            return
        temporary = file.with_name(f".{file.name}.tmp")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                # Blocks are reserved now: a full disk refuses the container here, and later kills no program that has
                # the file mapped.
                os.posix_fallocate(descriptor, 0, usage.SIZE)
                os.fchmod(descriptor, 0o666)
            finally:
                os.close(descriptor)
            temporary.rename(file)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def _held(descriptor: int, slot: int, count: int) -> bool:
    """Return whether a process holds a lock on these slots' bytes of the usage file. Raises OSError."""
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
    """Change a policy file in place, under its sequence number, and return whether it differed.

    A file of another size is damaged: it is written whole, in place too, because a container may have it mounted.
    Raises OSError.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        present = os.pread(descriptor, policy.SIZE + 1, 0)
        if len(present) != policy.SIZE:
            logs.event(logger, "damaged policy file replaced", logging.ERROR, file=file, size=len(present))
            os.pwrite(descriptor, policy.SEQUENCE.pack(1), policy.SEQUENCE_OFFSET)  # readers wait while it is odd
            os.ftruncate(descriptor, policy.SIZE)
            present = os.pread(descriptor, policy.SIZE, 0)
        (sequence,) = policy.SEQUENCE.unpack_from(present, policy.SEQUENCE_OFFSET)
        content = policy.pack(wanted)
        if sequence % 2 == 0 and policy.guarded(present) == policy.guarded(content):
            return False
        # An odd sequence was left by a writer that was killed: continue from it.
        writing = sequence | 1
        os.pwrite(descriptor, policy.SEQUENCE.pack(writing), policy.SEQUENCE_OFFSET)
        for start, end in policy.GUARDED:
            os.pwrite(descriptor, content[start:end], start)
        os.pwrite(descriptor, policy.SEQUENCE.pack((writing + 1) & 0xFFFFFFFF), policy.SEQUENCE_OFFSET)
        return True
    finally:
        os.close(descriptor)
