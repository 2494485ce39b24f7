"""One container's folder: its files, kept open, and its lines on the page."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from exporter import exposition, liveness
from unigpu import errors, grants, logs, policy, usage
from unigpu.grants import Grant
from unigpu.policy import Policy

logger = logging.getLogger(__name__)
_TURNS = 100
"""How often a policy that is being written is read again, before the one known before counts for now."""
_BUFFER = bytearray(usage.SIZE)
"""For whole usage files, one after another: pages are made on one thread."""


class Container:
    """Reads no more than may have changed since the last time.

    The grant is read once: a new one is a new file, and that is a new object. The policy is compared byte by byte. Of
    the usage file the cards' totals are compared: each change of a slot changes its card's total too, so what was read
    of the slots stays true until a total changes, or a process ends.
    """

    def __init__(self, folder: Path, grant: Grant) -> None:
        self.grant = grant
        self.unreadable: dict[str, str] = {}
        """Why a file can't be read, by its name."""
        self._folder = folder
        self._policy = _File(folder / grants.POLICY_FILE)
        self._usage = _File(folder / grants.USAGE_FILE)
        cards = len(grant.shares)
        self._policy_head = policy.CARDS_OFFSET + policy.CARD_SIZE * cards
        self._usage_head = usage.TOTALS_OFFSET + usage.TOTAL_SIZE * cards
        self._policy_seen: bytes | None = None
        self._usage_seen: bytes | None = None
        self._limits: Policy | None = None
        self._living: tuple[int, ...] = ()
        self.granted = exposition.granted(grant, None)
        self.used = self.refused = b""
        """Lines; empty where the usage file can't be read."""

    def close(self) -> None:
        """Close its files."""
        self._policy.close()
        self._usage.close()

    def refresh(self) -> bool:
        """Read what may have changed; whether a line that `granted` has, or the list of unreadable files, did.

        Raises nothing: what can't be read is in `unreadable`.
        """
        before = self.granted, tuple(self.unreadable)
        self._guarded(grants.POLICY_FILE, self._read_policy, self._forget_policy)
        self._guarded(grants.USAGE_FILE, self._read_usage, self._forget_usage)
        return before != (self.granted, tuple(self.unreadable))

    def _guarded(self, file: str, read: Callable[[], None], forget: Callable[[], None]) -> None:
        try:
            read()
        except (OSError, errors.Malformed) as error:
            forget()
            if self.unreadable.get(file) != str(error):
                self.unreadable[file] = str(error)
                logs.event(logger, "file can't be read", logging.WARNING, folder=self._folder, file=file, error=error)
        else:
            self.unreadable.pop(file, None)

    def _read_policy(self) -> None:
        descriptor = self._policy.descriptor()
        if os.pread(descriptor, self._policy_head, 0) == self._policy_seen:
            return
        for _ in range(_TURNS):
            content = os.pread(descriptor, policy.SIZE + 1, 0)
            if content == os.pread(descriptor, policy.SIZE + 1, 0) and not _being_written(content):
                break
        else:
            if self._limits is not None:
                return
            raise errors.Malformed("policy file is being written all the time")
        self._limits = policy.unpack(content)
        self._policy_seen = content[: self._policy_head]
        self.granted = exposition.granted(self.grant, self._limits)

    def _forget_policy(self) -> None:
        self._policy.close()
        self._policy_seen = None
        if self._limits is not None:
            self._limits = None
            self.granted = exposition.granted(self.grant, None)

    def _read_usage(self) -> None:
        descriptor = self._usage.descriptor()
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
        self._usage.close()
        self._usage_seen = None
        self.used = self.refused = b""


class _File:
    """A file that is opened when it is first needed, and stays open."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def descriptor(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        return self._descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _being_written(content: bytes) -> bool:
    if len(content) < policy.CARDS_OFFSET:
        return False
    return bool(policy.SEQUENCE.unpack_from(content, policy.SEQUENCE_OFFSET)[0] & 1)
