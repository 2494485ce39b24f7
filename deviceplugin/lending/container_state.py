"""One container's files, kept open: what its programs were charged, and what they may use now."""

import contextlib
import mmap
import os
from operator import ne, sub
from pathlib import Path

from unigpu import errors, grants, lending, usage
from unigpu import policy as policy_layout
from unigpu.lending import ActivityEstimate, Claimant
from unigpu.policy import Policy
from unigpu.units import GpuUuid
from unigpu_node import usage_file
from unigpu_node.policy_file import TURNS, Mapped

_MAGIC = usage.MAGIC.to_bytes(4, "little")
_UNUSED = bytes(4)
"""In place of the magic, before any program used a GPU."""


class ContainerState:
    """A container's usage and policy files, for as long as the folder has the same two files.

    The usage file is read, not mapped: its container may shorten it, and a mapped file that shrinks kills its reader.
    The policy is the agent's own; it is mapped, so that a GPU's live state is one store, which no reader sees in part.
    """

    def __init__(self, folder: Path) -> None:
        """Open the files. Raises OSError, Malformed."""
        self._usage = usage_file.open_for_reading(folder / grants.USAGE_FILE)
        try:
            self._policy = Mapped(folder / grants.POLICY_FILE)
        except BaseException:
            os.close(self._usage)
            raise
        self._inodes = _inode(os.fstat(self._usage)), _inode(os.fstat(self._policy.descriptor))
        self._usage_path, self._policy_path = f"{folder}/{grants.USAGE_FILE}", f"{folder}/{grants.POLICY_FILE}"
        self._account: mmap.mmap | None = None
        """The usage file's header, mapped; None: it is too short, or was cut."""
        with contextlib.suppress(OSError, ValueError):
            self._account = mmap.mmap(self._usage, usage.SLOTS_OFFSET, prot=mmap.PROT_READ)
        self.account = memoryview(b"")
        """What programs were charged of its GPUs. Only the kernel may copy from it: see `unigpu_node.file_heads`."""
        self._sequence = -1
        self._head = b""
        self._charges = usage.charges(0)
        self._no_charge: list[int] = []
        self._no_waiter: list[bool] = []
        self._totals: tuple[int, ...] = ()
        self.gpus: tuple[GpuUuid, ...] = ()
        """In the policy's order, like all lists below."""
        self.claimants: tuple[Claimant, ...] = ()
        self.estimates: list[ActivityEstimate] = []
        self.charged: list[int] = []
        """GPU time charged between the last two samples, ns."""
        self.waiting: list[bool] = []
        """Whether a launch waited at the last sample."""

    @property
    def trusted(self) -> bool:
        """Whether `account` shows each change; without that it takes a sample to know."""
        return self._account is not None

    @property
    def heartbeat(self) -> memoryview:
        """Where the heartbeat is written, by the kernel: see `unigpu_node.heartbeats`."""
        return self._policy.heartbeat

    def distrust(self) -> None:
        """Take in that the usage file was cut away under its map."""
        self.account.release()
        if self._account is not None:
            self._account.close()
            self._account = None

    def close(self) -> None:
        """Close the files."""
        self.distrust()
        self._policy.close()
        os.close(self._usage)

    def is_current(self) -> bool:
        """Return whether the folder still has the files that are open."""
        try:
            named = os.stat(self._usage_path), os.stat(self._policy_path)  # noqa: PTH116 a thousand at a time
        except OSError:
            return False
        return (_inode(named[0]), _inode(named[1])) == self._inodes

    def reload_policy(self) -> bool:
        """Read the policy where its sequence moved; return whether its GPUs or claimants changed.

        A policy that is being written is left for the next time. Raises Malformed.
        """
        self._policy.check()
        for _ in range(TURNS):
            sequence = self._policy.sequence
            if sequence == self._sequence:
                return False
            content = self._policy.content()
            if sequence % 2 == 0 and self._policy.sequence == sequence:
                break
        else:
            return False
        policy = policy_layout.unpack(content)
        self._sequence = sequence
        gpus, found = tuple(gpu.gpu for gpu in policy.gpus), claimants(policy)
        if (gpus, found) == (self.gpus, self.claimants):
            return False
        if gpus != self.gpus:
            self._charges = usage.charges(len(gpus))
            self._no_charge, self._no_waiter = [0] * len(gpus), [False] * len(gpus)
            if self._account is not None:
                start, end = usage.charges_part(len(gpus))
                self.account.release()
                self.account = memoryview(self._account)[start:end]
        self.gpus, self.claimants = gpus, found
        self.reset()
        return True

    def reset(self) -> None:
        """Forget the activity that was measured, and withdraw the live state."""
        self.estimates = [lending.IDLE] * len(self.gpus)
        self._forget()
        for gpu in range(len(self.gpus)):
            self.set_live_state(gpu, 0, 0)

    def sample(self) -> Exception | None:
        """Read what was charged; return why the files can't be used, None where they can.

        A damaged usage file counts as one of a container that does nothing.
        """
        try:
            self._policy.check()
            head = os.pread(self._usage, self._charges.size, 0)
        except (OSError, errors.Malformed) as error:
            return error
        if head == self._head:
            # A launch that waits updates the file every 10 ms: without a change nobody waits.
            self.charged, self.waiting = self._no_charge, self._no_waiter
        elif len(head) == self._charges.size and head.startswith(_MAGIC):
            self._head = head
            read = self._charges.unpack(head)
            before = self._totals
            if len(read) == 3:
                # Most have one GPU.
                self._totals = (read[0],)
                self.charged = [read[0] - before[0]] if before else self._no_charge
                self.waiting = [read[1] != read[2]]
                return None
            self._totals = read[::3]
            self.charged = list(map(sub, self._totals, before)) if before else self._no_charge
            self.waiting = list(map(ne, read[1::3], read[2::3]))
        else:
            self._forget()
            if head.startswith(_UNUSED):
                self._totals = tuple(self._no_charge)
        return None

    def rest(self) -> None:
        """Take in that nothing was charged since the last sample, and nobody waits."""
        self.charged, self.waiting = self._no_charge, self._no_waiter

    def set_live_state(self, gpu: int, now: float, others: float) -> None:
        """Write what the container may use `now` of the GPU at this place, and what `others` use, both in percent."""
        self._policy.set_live_state(gpu, now, others)

    def _forget(self) -> None:
        """Forget the totals that were read: the next sample is compared with nothing."""
        self._head, self._totals = b"", ()
        self.charged, self.waiting = self._no_charge, self._no_waiter


def claimants(policy: Policy) -> tuple[Claimant, ...]:
    """Return the container's claim on each of its GPUs."""
    return tuple(
        Claimant(policy.compute, gpu.cores, gpu.ceiling, policy.priority, policy.cores_enforced) for gpu in policy.gpus
    )


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
