"""One container's folder: its files, kept open, and its lines on the page."""

import logging
import os
import time
from pathlib import Path

from exporter import exposition, liveness
from unigpu import errors, grants, logs, policy, usage
from unigpu.grants import Grant
from unigpu.policy import Policy

logger = logging.getLogger(__name__)
_TURNS = 100
"""How often a policy that is being written is read again, before the one known before counts for now."""
_UNREADABLE = (OSError, errors.Malformed)
_RECENT = 100_000_000
"""Nanoseconds; several times what file systems round times of change to."""
_BUFFER = bytearray(usage.SIZE)
"""For whole usage files, one after another: pages are made on one thread."""


class Container:
    """Reads no more than may have changed since the last time.

    The grant is read once: a new one is a new file, and that is a new object. The policy is read when its time of
    change says so: the node agent writes it with system calls, which set that time. Programs change the usage file
    through memory, which doesn't, so its cards' totals are compared: each change of a slot changes its card's total
    too, and what was read of the slots stays true until a total changes, or a process ends.
    """

    def __init__(self, folder: Path, grant: Grant, *, stays_open: bool = True) -> None:
        """`stays_open`: keep the usage file open between two refreshes, which is quicker and costs a descriptor."""
        self.grant = grant
        self.unreadable: dict[str, str] = {}
        """Why a file can't be read, by its name."""
        self._folder = folder
        self._policy = folder / grants.POLICY_FILE
        self._policy_path = str(self._policy)
        self._policy_stamp: tuple[int, int] | None = None
        self._usage = folder / grants.USAGE_FILE
        self._usage_head = usage.TOTALS_OFFSET + usage.TOTAL_SIZE * len(grant.shares)
        self._usage_seen: bytes | None = None
        self._descriptor = -1
        self.stays_open = stays_open
        self._limits: Policy | None = None
        self._living: tuple[int, ...] = ()
        self.granted = exposition.granted(grant, None)
        self.used = self.refused = b""
        """Lines; empty where the usage file can't be read."""

    def close(self) -> None:
        """Close the usage file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def refresh(self) -> bool:
        """Read what may have changed; whether a line that `granted` has, or the list of unreadable files, did.

        Raises nothing: what can't be read is in `unreadable`.
        """
        try:
            changed = self._read_policy()
        except _UNREADABLE as error:
            self._forget_policy()
            changed = self._failed(grants.POLICY_FILE, error)
        else:
            changed |= self._mended(grants.POLICY_FILE)
        try:
            self._read_usage()
        except _UNREADABLE as error:
            self._forget_usage()
            changed |= self._failed(grants.USAGE_FILE, error)
        else:
            changed |= self._mended(grants.USAGE_FILE)
        if not self.stays_open:
            self.close()
        return changed

    def _failed(self, file: str, error: Exception) -> bool:
        if self.unreadable.get(file) == str(error):
            return False
        self.unreadable[file] = str(error)
        logs.event(logger, "file can't be read", logging.WARNING, folder=self._folder, file=file, error=error)
        return True

    def _mended(self, file: str) -> bool:
        return bool(self.unreadable) and self.unreadable.pop(file, None) is not None

    def _read_policy(self) -> bool:
        """Whether the limits are others now."""
        status = os.stat(self._policy_path)  # noqa: PTH116
        stamp = status.st_ino, status.st_mtime_ns
        if stamp == self._policy_stamp:
            return False
        for _ in range(_TURNS):
            content = self._policy.read_bytes()
            if content == self._policy.read_bytes() and not _being_written(content):
                break
        else:
            if self._limits is not None:
                return False
            raise errors.Malformed("policy file is being written all the time")
        limits = policy.unpack(content)
        # Of a file that changed this very moment another change may follow with the same time.
        self._policy_stamp = stamp if abs(time.time_ns() - status.st_mtime_ns) > _RECENT else None
        if limits == self._limits:
            return False
        self._limits = limits
        self.granted = exposition.granted(self.grant, limits)
        return True

    def _forget_policy(self) -> None:
        self._policy_stamp = None
        if self._limits is not None:
            self._limits = None
            self.granted = exposition.granted(self.grant, None)

    def _read_usage(self) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self._usage, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        descriptor = self._descriptor
        head = os.pread(descriptor, self._usage_head, 0)
        if head == self._usage_seen:
            for slot in self._living:
                if not liveness.holds(descriptor, slot):
                    break
            else:
                return
        # Not mapped: a file that its container shortens would kill us.
        length = os.preadv(descriptor, [_BUFFER], 0)
        content = _BUFFER if length == usage.SIZE else _BUFFER[:length]
        taken = usage.unpack(content, len(self.grant.shares), liveness.of(descriptor))
        self._living = tuple(process.slot for process in taken.processes)
        self._usage_seen = head
        self.used, self.refused = exposition.used(self.granted.cards, taken.cards)

    def _forget_usage(self) -> None:
        self.close()
        self._usage_seen = None
        self.used = self.refused = b""


def _being_written(content: bytes) -> bool:
    if len(content) < policy.CARDS_OFFSET:
        return False
    return bool(policy.SEQUENCE.unpack_from(content, policy.SEQUENCE_OFFSET)[0] & 1)
