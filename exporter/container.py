"""One container's folder: its files, kept open, and its lines on the page."""

import dataclasses
import logging
import os
import time
from pathlib import Path

from exporter import exposition, liveness
from unigpu import errors, grants, logs, policy, usage
from unigpu.grants import Grant
from unigpu.policy import Policy
from unigpu.usage import GpuTotals

logger = logging.getLogger(__name__)
_TURNS = 100
"""How often a policy that is being written is read again, before the one known before counts for now."""
_UNREADABLE = (OSError, errors.Malformed)
_RECENT = 100_000_000
"""Nanoseconds; several times what file systems round times of change to."""
_RESET_NS = 10_000_000_000
"""GPU time by which an account is never corrected, so that it must have begun anew."""
_BUFFER = bytearray(usage.SIZE)
"""For whole usage files, one after another: pages are made on one thread."""


class Container:
    """Reads no more than may have changed since the last time.

    The grant is read once: a new one is a new file, and that is a new object. The policy is read when its time of
    change says so: the node agent writes limits with system calls, which set that time. What it may use at the moment
    is written through memory, which doesn't; it is read each time, of containers for which it may be another than the
    share. Programs change the usage file through memory too, so its beginning is read and compared: each change of a
    slot changes its GPU's total too, and what was read of the slots stays true until a total changes, or a process
    ends.
    """

    def __init__(
        self, folder: Path, grant: Grant, *, stays_open: bool = True, taken: tuple[GpuTotals, ...] = ()
    ) -> None:
        """`taken`: what was seen under an earlier grant, whose counters these go on.

        `stays_open`: keep the usage file open between two refreshes, which is quicker and costs a descriptor.
        """
        self.grant = grant
        self.unreadable: dict[str, str] = {}
        """Why a file can't be read, by its name."""
        self.stays_open = stays_open
        self._folder = folder
        gpus = len(grant.shares)
        self._policy = folder / grants.POLICY_FILE
        self._policy_path = str(self._policy)
        self._policy_stamp: tuple[int, int] | None = None
        self._told: tuple[float, ...] = ()
        self._limits: Policy | None = None
        self._usage = -1
        self._usage_totals = usage.TOTALS_OFFSET + usage.TOTAL_SIZE * gpus
        self._usage_head = usage.COMPUTE_OFFSET + usage.COMPUTE_SIZE * gpus
        self._usage_seen: bytes | None = None
        self.taken = taken
        """What the container was last seen to have taken, by GPU."""
        self._living: tuple[int, ...] = ()
        self.granted = exposition.granted(grant, None)
        self.used = exposition.Used()
        """Lines; empty where the usage file can't be read."""
        self.now = b""
        """Lines; empty where the policy can't be read."""

    def close(self) -> None:
        """Close the usage file."""
        self._close_usage()

    def refresh(self, now_ns: int | None = None) -> bool:
        """Read what may have changed; whether a line that `granted` has, or the list of unreadable files, did.

        `now_ns`: CLOCK_MONOTONIC, which tells whether what the node agent said last still holds. Raises nothing: what
        can't be read is in `unreadable`.
        """
        try:
            changed = self._read_policy(time.monotonic_ns() if now_ns is None else now_ns)
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

    def _read_policy(self, now_ns: int) -> bool:
        """Whether the limits are others now."""
        status = os.stat(self._policy_path)  # noqa: PTH116
        stamp = status.st_ino, status.st_mtime_ns
        changed = stamp != self._policy_stamp and self._read_limits(stamp)
        limits = self._limits
        if limits is None:
            return changed
        told = self._read_moments(now_ns) if limits.rate_varies else (0.0,) * len(limits.gpus)
        if changed or told != self._told:
            self._told = told
            self.now = exposition.now(self.granted.gpus, limits, told)
        return changed

    def _read_limits(self, stamp: tuple[int, int]) -> bool:
        for _ in range(_TURNS):
            content, again = self._policy.read_bytes(), self._policy.read_bytes()
            sequence = _sequence(content)
            if not sequence & 1 and sequence == _sequence(again) and policy.guarded(content) == policy.guarded(again):
                break
        else:
            if self._limits is not None:
                return False
            raise errors.Malformed("policy file is being written all the time")
        limits = policy.unpack(content)
        # Of a file that changed this very moment another change may follow with the same time.
        self._policy_stamp = stamp if abs(time.time_ns() - stamp[1]) > _RECENT else None
        if limits == self._limits:
            return False
        self._limits = limits
        self.granted = exposition.granted(self.grant, limits)
        return True

    def _read_moments(self, now_ns: int) -> tuple[float, ...]:
        """What the node agent says of each GPU, while that holds."""
        gpus = range(len(self._limits.gpus) if self._limits is not None else 0)
        descriptor = os.open(self._policy_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = os.pread(descriptor, policy.GPUS_OFFSET + policy.ENTRY_SIZE * len(gpus), 0)
        finally:
            os.close(descriptor)
        if len(head) < policy.GPUS_OFFSET + policy.ENTRY_SIZE * len(gpus):
            raise errors.Malformed(f"policy file has {len(head)} bytes, not {policy.SIZE}")
        if policy.HEARTBEAT.unpack_from(head, policy.HEARTBEAT_OFFSET)[0] + policy.FRESH_NS <= now_ns:
            return (0.0,) * len(gpus)
        return tuple([policy.read_live_state(head, gpu)[0] for gpu in gpus])

    def _forget_policy(self) -> None:
        self._policy_stamp = None
        self._told, self.now = (), b""
        if self._limits is not None:
            self._limits = None
            self.granted = exposition.granted(self.grant, None)

    def _read_usage(self) -> None:
        if self._usage < 0:
            self._usage = os.open(
                self._folder / grants.USAGE_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
            )
        descriptor = self._usage
        head = os.pread(descriptor, self._usage_head, 0)
        seen, totals = self._usage_seen, self._usage_totals
        still = seen is not None and len(head) == len(seen) and head[:totals] == seen[:totals]
        if still:
            for slot in self._living:
                if not liveness.holds(descriptor, slot):
                    still = False
                    break
        if still:
            if head == seen:
                return
            taken = tuple(
                GpuTotals(one.used, one.peak, one.refused, *usage.compute(head, gpu))
                for gpu, one in enumerate(self.taken)
            )
        else:
            # Not mapped: a file that its container shortens would kill us.
            length = os.preadv(descriptor, [_BUFFER], 0)
            content = _BUFFER if length == usage.SIZE else _BUFFER[:length]
            found = usage.unpack(content, len(self.grant.shares), liveness.of(descriptor))
            self._living = tuple(process.slot for process in found.processes)
            taken = tuple(found.gpus)
        self._usage_seen = head
        self.taken = tuple(map(_counted, taken, self.taken)) if len(self.taken) == len(taken) else taken
        self.used = exposition.used(self.granted.gpus, self.taken)

    def _forget_usage(self) -> None:
        self._close_usage()
        self._usage_seen = None
        self.used = exposition.Used()

    def _close_usage(self) -> None:
        if self._usage >= 0:
            os.close(self._usage)
            self._usage = -1


def _counted(now: GpuTotals, before: GpuTotals) -> GpuTotals:
    """A counter never goes back, unless it begins anew: what was charged too much is given back to the account."""
    if before.compute_ns - _RESET_NS < now.compute_ns < before.compute_ns:
        return dataclasses.replace(now, compute_ns=before.compute_ns)
    return now


def _sequence(content: bytes) -> int:
    """Of what is too short, none: unpacking it says so."""
    if len(content) < policy.GPUS_OFFSET:
        return 0
    found: int = policy.SEQUENCE.unpack_from(content, policy.SEQUENCE_OFFSET)[0]
    return found
