"""Containers' folders on the node: the grant, policy and usage file of each."""

import contextlib
import dataclasses
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deviceplugin.store import files
from deviceplugin.store.remnants import Remnants
from unigpu import errors, grants, limits, logs, policy
from unigpu.allocations import Share
from unigpu.grants import Grant
from unigpu.policy import Policy
from unigpu.units import BYTES_PER_MIB, MAX_MEMORY, GpuUuid, MiB
from unigpu_node import containers, policy_file, usage_file
from unigpu_node import files as node_files
from unigpu_node.containers import Key, Stamp, StoredGrant

logger = logging.getLogger(__name__)


class ContainerStore:
    """All containers' folders, under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.remnants = Remnants(root.with_name(f"{root.name}.removed"))
        """Usage files of removed containers that programs still write."""
        self._writing = threading.Lock()

    def of(self, pod_uid: str, container: str) -> Path:
        """Return the container's folder, whether or not it exists."""
        return Path(grants.folder(self.root, pod_uid, container))

    def load(self) -> dict[Key, StoredGrant]:
        """Return all grants, by pod UID and container.

        A folder whose grant can't be read is logged with the file's path and left out; it goes with its pod.
        """
        found, unreadable = containers.read_all(self.root)
        for key, reason in unreadable.items():
            file = self.of(*key) / grants.GRANT_FILE
            logs.event(logger, "grant can't be read", logging.WARNING, file=file, reason=reason)
        return found

    def pods(self) -> list[str]:
        """Return the UIDs of all pods that have a folder, sorted."""
        try:
            return sorted(os.listdir(self.root))  # noqa: PTH208 a thousand at a time
        except OSError:
            return []

    def damaged(self, pods: Iterable[str], sound: dict[Key, Stamp]) -> list[Key]:
        """Return the containers of these pods whose grant exists and isn't one.

        `sound`: the stamps of grants that were in order the last time, which are read again only when theirs is
        another one. It is brought up to date.
        """
        found = []
        for pod in pods:
            with contextlib.suppress(OSError):
                for key, stamp in containers.pod_stamps(self.root, pod):
                    if sound.get(key) != stamp:
                        if self._is_damaged(key):
                            found.append(key)
                        else:
                            sound[key] = stamp
        return found

    def _is_damaged(self, key: Key) -> bool:
        try:
            containers.read(self.root, key)
        except errors.Malformed:
            return True
        except OSError:
            pass  # never prepared, or being removed
        return False

    def names(self) -> Iterator[Key]:
        """Yield pod UID and container of each folder."""
        with contextlib.suppress(OSError):
            yield from containers.keys(self.root)

    def write(self, grant: Grant, wanted: Policy, *, running: bool = False) -> Path:
        """Create or renew the container's folder and return its path.

        Policy and usage remain the same files, because a container may have them mapped; only after a boot is the usage
        file a new one. `running`: the container has them mounted, so nothing replaces them, whatever is wrong with
        them. Raises Unavailable.
        """
        folder = self.of(grant.pod_uid, grant.container)
        with self._writing:
            with files.reporting("create", folder):
                folder.mkdir(parents=True, exist_ok=True)
            with files.reporting("write", folder / grants.USAGE_FILE):
                if not (running and (folder / grants.USAGE_FILE).exists()):
                    self._usage(folder, grant)
            file = folder / grants.POLICY_FILE
            with files.reporting("write", file):
                try:
                    _rewrite(file, wanted)
                except FileNotFoundError:
                    policy_file.create(file, wanted)
                except BlockingIOError:
                    if running:
                        raise
                    # The lease belongs to a process that was passed a descriptor.
                    policy_file.create(file, wanted)
            with files.reporting("write", folder / grants.GRANT_FILE):
                node_files.write(folder / grants.GRANT_FILE, grants.dump(grant).encode())
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
                node_files.write(file, grants.dump(grant).encode(), modified_ns=stamp)
            return changed

    def answer(self, pod_uid: str, container: str, number: int, refusal: str) -> None:
        """Answer the wish of that number; an empty refusal grants. A container that is gone is left alone.

        Raises Unavailable.
        """
        file = self.of(pod_uid, container) / grants.POLICY_FILE
        with self._writing, files.reporting("write", file), contextlib.suppress(FileNotFoundError):
            policy_file.answer(file, number, refusal)

    def policy(self, pod_uid: str, container: str) -> Policy:
        """Return the container's policy as it is. Raises Unavailable, Malformed."""
        file = self.of(pod_uid, container) / grants.POLICY_FILE
        with files.reporting("read", file):
            return policy_file.read(file)

    def beyond(self, pod_uid: str, container: str, shares: Sequence[Share]) -> dict[GpuUuid, MiB]:
        """Return what the container's living programs have in use on GPUs where that exceeds these shares.

        Empty where the usage file can't be read.
        """
        try:
            descriptor = usage_file.open_for_reading(self.of(pod_uid, container) / grants.USAGE_FILE)
        except OSError:
            return {}
        try:
            # The totals include programs that have died, and are quick to read.
            if not limits.held_memory(shares, usage_file.read_totals(descriptor, len(shares))):
                return {}
            found = usage_file.read(descriptor, len(shares))
        except (OSError, errors.Malformed):
            return {}
        finally:
            os.close(descriptor)
        return limits.held_memory(shares, [gpu.used for gpu in found.gpus])

    def used(self, pod_uid: str, container: str, gpus: int) -> list[MiB]:
        """Return the MiB, rounded up, that the container has in use of each of its GPUs; what dead programs had may
        still be counted. All of a GPU where the usage file can't be read."""
        try:
            descriptor = usage_file.open_for_reading(self.of(pod_uid, container) / grants.USAGE_FILE)
        except OSError:
            return [MAX_MEMORY] * gpus
        try:
            return [MiB(-(-amount // BYTES_PER_MIB)) for amount in usage_file.read_totals(descriptor, gpus)]
        except OSError:
            return [MAX_MEMORY] * gpus
        finally:
            os.close(descriptor)

    def in_use(self, pod_uid: str, container: str) -> bool:
        """Return whether a program of the container uses its GPUs: each holds a lock on the usage file."""
        return usage_file.in_use(self.of(pod_uid, container) / grants.USAGE_FILE)

    def out_of_order(self, keys: Iterable[Key]) -> list[Key]:
        """Return the containers to whose usage files `mend_usage` has something to do."""
        root = str(self.root)
        return [
            (uid, container)
            for uid, container in keys
            if not usage_file.in_order(f"{root}/{uid}/{container}/{grants.USAGE_FILE}")
        ]

    def mend_usage(self, pod_uid: str, container: str) -> int:
        """Undo what programs may have done to the container's usage file: its permissions, and what it takes of the
        disk beyond its size. Return the bytes given back."""
        file = self.of(pod_uid, container) / grants.USAGE_FILE
        with contextlib.suppress(OSError):
            usage_file.open_to_all(file)
        with contextlib.suppress(OSError):
            return usage_file.cut(file)
        return 0

    def remove(self, pod_uid: str, container: str) -> None:
        """Remove the container's folder, if it exists."""
        with self._writing, contextlib.suppress(OSError):
            self.remnants.take(self.of(pod_uid, container) / grants.USAGE_FILE)
            shutil.rmtree(self.of(pod_uid, container), ignore_errors=True)
            (self.root / pod_uid).rmdir()

    def _usage(self, folder: Path, grant: Grant) -> None:
        file = folder / grants.USAGE_FILE
        try:
            boot = containers.read(self.root, (grant.pod_uid, grant.container)).grant.boot
        except (OSError, errors.Malformed):
            boot = ""
        # Processes of an earlier run are dead by now; their totals are kept.
        if boot != grant.boot or not usage_file.usable(file):
            self.remnants.take(file)
            usage_file.create(file)


def _rewrite(file: Path, wanted: Policy) -> bool:
    """Change a policy file in place and return whether it differed.

    A file of another size is damaged: it is written whole, in place too, because a container may have it mounted.
    Raises OSError.
    """
    try:
        return policy_file.rewrite(file, wanted)
    except errors.Malformed as error:
        logs.event(logger, "damaged policy file repaired", logging.ERROR, file=file, reason=error)
    descriptor = policy_file.open_at_once(file, os.O_RDWR)
    try:
        os.pwrite(descriptor, policy.SEQUENCE.pack(1), policy.SEQUENCE_OFFSET)  # readers wait while it is odd
        os.ftruncate(descriptor, policy.SIZE)
    finally:
        os.close(descriptor)
    return policy_file.rewrite(file, wanted)
