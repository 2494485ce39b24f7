"""One container's folder: its files, kept open, and its lines on the page."""

import dataclasses
import logging
import mmap
import os
import time
from collections.abc import Mapping
from pathlib import Path

from exporter import exposition
from unigpu import errors, grants, logs, policy, usage
from unigpu.grants import Grant
from unigpu.policy import Policy
from unigpu.units import BYTES_PER_MIB, Bytes, GpuUuid
from unigpu.usage import GpuTotals
from unigpu_node import locks, policy_file, usage_file

logger = logging.getLogger(__name__)
_UNREADABLE = (OSError, errors.Malformed)
_UNKNOWN: Mapping[GpuUuid, Bytes] = {}
_RECENT = 100_000_000
"""Nanoseconds; several times what file systems round times of change to."""
_RESET_NS = 10_000_000_000
"""GPU time by which an account is never corrected: a larger step back means that it has begun again."""
_SET_ASIDE_NS = 30_000_000_000
"""How long a usage file that says what can't be isn't read again: reading it may be what it was made for."""
_FEW = 4
"""So many living processes are asked for one by one; more are asked for with all their file's locks, and bounded."""


class Container:
    """Reads no more than may have changed since the last time.

    The grant is read once: a new one is a new file, and that is a new object. The policy is read when its time of
    change says so: the node agent writes limits with system calls, which set that time. The current rate is written
    through memory, which doesn't set it; so it is read on each scrape, of containers whose rate may differ from their
    share. Programs change the usage file through memory too, so its beginning is read and compared: each change of a
    slot changes its GPU's total too, and what was read of the slots stays true until a total changes, or a process
    ends.
    """

    def __init__(
        self,
        folder: Path,
        grant: Grant,
        node: str = "",
        *,
        stays_open: bool = True,
        taken: tuple[GpuTotals, ...] = (),
    ) -> None:
        """`node`: the label. `taken`: what was seen under an earlier grant, whose counters these go on.

        `stays_open`: keep the usage file open between two refreshes, which is quicker and costs a descriptor.
        """
        self.grant = grant
        self.unreadable: dict[str, str] = {}
        """Why a file can't be read, by its name."""
        self.stays_open = stays_open
        self.touched = True
        """Whether a file of its folder may have come, gone or been replaced since `exporter.heads` dealt with it."""
        self._folder = folder
        self._node = node
        gpus = len(grant.shares)
        self._policy = folder / grants.POLICY_FILE
        self._policy_path = str(self._policy)
        self._policy_stamp: tuple[int, int] | None = None
        self._rates: tuple[float, ...] = ()
        self._limits: Policy | None = None
        self.rate_varies = False
        """Whether the current rate changes without any change of the limits."""
        self._usage = -1
        self._usage_head = usage.COMPUTE_OFFSET + usage.COMPUTE_SIZE * gpus
        self._usage_seen: bytes | None = None
        self.taken = taken
        """What the container was last seen to have taken, by GPU."""
        self._living: tuple[int, ...] = ()
        self._questions: tuple[bytes, ...] = ()
        """Whether they live still."""
        self.granted = exposition.granted(grant, None, node)
        self.used = exposition.Used()
        """Lines; empty where the usage file can't be read."""
        self.current = b""
        """Lines; empty where the policy can't be read."""
        self._set_aside_until = 0

    def limit(self, place: int) -> Bytes:
        """Return the bytes that it may have of the GPU at this place of its grant now; 0: not limited."""
        limits = self._limits
        if limits is not None and place < len(limits.gpus):
            return limits.gpus[place].memory
        return Bytes(self.grant.shares[place].memory * BYTES_PER_MIB)

    @property
    def held(self) -> bool:
        """Whether its memory is limited, and the limit enforced."""
        limits = self._limits
        return limits is not None and limits.memory_enforced and any(gpu.memory for gpu in limits.gpus)

    @property
    def settled(self) -> bool:
        """Whether all that `refresh` could find now is a change of the files' beginnings, or the end of a process."""
        limits = self._limits
        return (
            self.stays_open
            and self._usage >= 0
            and self._policy_stamp is not None
            and limits is not None
            and len(limits.gpus) == len(self.grant.shares)
            and not self.unreadable
        )

    def mapped(self) -> tuple[mmap.mmap, mmap.mmap]:
        """Map the beginnings of the usage file and the policy, of which `heads` says how much counts.

        Touching a map of a file that was shortened ends the process: only the kernel may copy from them. Raises
        OSError; ValueError for files that are too short.
        """
        account = mmap.mmap(self._usage, usage.SLOTS_OFFSET, prot=mmap.PROT_READ)
        try:
            descriptor = policy_file.open_at_once(self._policy_path, os.O_RDONLY)
            try:
                return account, mmap.mmap(descriptor, policy.SIZE, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
        except BaseException:
            account.close()
            raise

    @property
    def heads(self) -> tuple[int, int]:
        """How many bytes at the beginning of the usage file and of the policy say everything about its GPUs."""
        return self._usage_head, policy.GPUS_OFFSET + policy.ENTRY_SIZE * len(self.grant.shares)

    def set_rates(self, head: bytes, now_ns: int) -> None:
        """Take the current rates from the policy's beginning, whose limits are those that are known."""
        limits = self._limits
        if limits is not None:
            self._set_rates(limits, policy_file.live_rates(head, len(limits.gpus), now_ns))

    def all_live(self) -> bool:
        """Return whether the processes that were seen last live still. Raises OSError, Implausible."""
        descriptor, living = self._usage, self._living
        if len(living) > _FEW:
            return locks.living(descriptor).issuperset(living)
        return locks.all_held(descriptor, self._questions)

    def close(self) -> None:
        """Close the usage file."""
        self._close_usage()

    def refresh(self, now_ns: int | None = None, sizes: Mapping[GpuUuid, Bytes] = _UNKNOWN) -> bool:
        """Read what may have changed; return whether `granted` or the list of unreadable files did.

        `now_ns`: CLOCK_MONOTONIC, by which the node agent's last values are still valid or not. `sizes`: memory of the
        node's GPUs, as far as it is known. Raises nothing: files that can't be read are in `unreadable`.
        """
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        try:
            changed = self._read_policy(now_ns)
        except _UNREADABLE as error:
            self._forget_policy()
            changed = self._failed(grants.POLICY_FILE, error)
        else:
            changed |= self._mended(grants.POLICY_FILE)
        if now_ns >= self._set_aside_until:
            changed |= self._refresh_usage(now_ns, sizes)
        if not self.stays_open:
            self.close()
        return changed

    def _refresh_usage(self, now_ns: int, sizes: Mapping[GpuUuid, Bytes]) -> bool:
        """Whether the file can be read where it couldn't, or can't where it could."""
        try:
            self._read_usage(sizes)
        except _UNREADABLE as error:
            if isinstance(error, usage.Implausible):
                self._set_aside_until = now_ns + _SET_ASIDE_NS
            self._forget_usage()
            return self._failed(grants.USAGE_FILE, error)
        return self._mended(grants.USAGE_FILE)

    def _failed(self, file: str, error: Exception) -> bool:
        if self.unreadable.get(file) == str(error):
            return False
        self.unreadable[file] = str(error)
        logs.event(
            logger,
            "file can't be read",
            logging.WARNING,
            **self.grant.log_fields,
            file=self._folder / file,
            error=error,
        )
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
        gpus = len(limits.gpus)
        rates = policy_file.read_live_rates(self._policy_path, gpus, now_ns) if limits.rate_varies else (0.0,) * gpus
        self._set_rates(limits, rates, again=changed)
        return changed

    def _set_rates(self, limits: Policy, rates: tuple[float, ...], *, again: bool = False) -> None:
        if again or rates != self._rates:
            self._rates = rates
            self.current = exposition.current(self.granted.gpus, limits, rates)

    def _read_limits(self, stamp: tuple[int, int]) -> bool:
        try:
            limits = policy_file.read(self._policy)
        except policy_file.Busy as error:
            if self._limits is not None:
                return False
            raise errors.Malformed(str(error)) from error
        # Of a file that changed this very moment another change may follow with the same time.
        self._policy_stamp = stamp if abs(time.time_ns() - stamp[1]) > _RECENT else None
        if limits == self._limits:
            return False
        self._limits, self.rate_varies = limits, limits.rate_varies
        self.granted = exposition.granted(self.grant, limits, self._node)
        return True

    def _forget_policy(self) -> None:
        self._policy_stamp = None
        self._rates, self.current = (), b""
        if self._limits is not None:
            self._limits, self.rate_varies = None, False
            self.granted = exposition.granted(self.grant, None, self._node)

    def _read_usage(self, sizes: Mapping[GpuUuid, Bytes]) -> None:
        if self._usage < 0:
            self._usage = usage_file.open_for_reading(self._folder / grants.USAGE_FILE)
        descriptor = self._usage
        head = os.pread(descriptor, self._usage_head, 0)
        seen = self._usage_seen
        still = seen is not None and len(head) == self._usage_head and usage.same_memory(head, seen, len(self.taken))
        if still:
            still = self.all_live()
        if still:
            if head == seen:
                return
            taken = tuple(usage.moved(head, self.taken))
        else:
            # Not mapped: a file that its container shortens would kill us.
            found = usage_file.read(descriptor, len(self.grant.shares), self._most(sizes))
            self._living = tuple(process.slot for process in found.processes)
            self._questions = locks.questions(self._living)
            taken = tuple(found.gpus)
        self._usage_seen = head
        self.taken = tuple(map(_counted, taken, self.taken)) if len(self.taken) == len(taken) else taken
        self.used = exposition.used(self.granted, self.taken, len(self._living))

    def _most(self, sizes: Mapping[GpuUuid, Bytes]) -> list[Bytes]:
        """Bytes of each GPU that programs can have in use. Without a limit, managed memory may exceed the GPU's."""
        limits = self._limits
        return [
            sizes.get(share.gpu, usage.LARGEST)
            if limits is not None and limits.memory_enforced and place < len(limits.gpus) and limits.gpus[place].memory
            else usage.LARGEST
            for place, share in enumerate(self.grant.shares)
        ]

    def _forget_usage(self) -> None:
        self._close_usage()
        self._usage_seen = None
        self.used = exposition.Used()

    def _close_usage(self) -> None:
        if self._usage >= 0:
            os.close(self._usage)
            self._usage = -1


def _counted(now: GpuTotals, before: GpuTotals) -> GpuTotals:
    """A counter never goes back, unless the account has begun again: time charged too much is given back to it."""
    if before.compute_ns - _RESET_NS < now.compute_ns < before.compute_ns:
        return dataclasses.replace(now, compute_ns=before.compute_ns)
    return now
