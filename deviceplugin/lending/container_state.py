"""One container's files, kept open: what its programs were charged, and where it is told what it may use now."""

import mmap
import os
from operator import ne, sub
from pathlib import Path

from unigpu import errors, grants, lending, policy, usage
from unigpu.lending import ActivityEstimate, Claimant
from unigpu.policy import Policy
from unigpu.units import GpuUuid

_MAGIC = usage.MAGIC.to_bytes(4, "little")
_UNUSED = bytes(4)
"""Instead of the magic, before any program used a GPU."""
_READ_ATTEMPTS = 100
"""How often a policy that is being written is looked at again at once."""


class ContainerState:
    """Opened for as long as both files are what they were.

    The usage file is read, not mapped: its container may shorten it, and a mapped file that shrinks kills its reader.
    The policy is the agent's own; it is mapped, so that a GPU's moment is one store, which no reader sees in part.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError, Malformed."""
        self._folder = folder
        self._usage = os.open(folder / grants.USAGE_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            self._policy = os.open(folder / grants.POLICY_FILE, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._check()
                self._view = mmap.mmap(self._policy, policy.SIZE)
            except BaseException:
                os.close(self._policy)
                raise
        except BaseException:
            os.close(self._usage)
            raise
        self._words = memoryview(self._view).cast("Q")
        self._live_state_words: list[int] = []
        """Of which of the policy's words of 8 bytes each GPU's moment is."""
        self._inodes = _inode(os.fstat(self._usage)), _inode(os.fstat(self._policy))
        self._sequence = -1
        self._head = b""
        self._charges = usage.charges(0)
        self._no_charge: list[int] = []
        self._no_waiter: list[bool] = []
        self._totals: tuple[int, ...] = ()
        self.gpus: tuple[GpuUuid, ...] = ()
        """In the policy's order, as all that follows."""
        self.claimants: tuple[Claimant, ...] = ()
        self.estimates: list[ActivityEstimate] = []
        self.charged: list[int] = []
        """GPU time charged between the last two looks, ns."""
        self.waiting: list[bool] = []
        """At the last look."""

    def close(self) -> None:
        """Let the files go."""
        self._words.release()
        self._view.close()
        os.close(self._policy)
        os.close(self._usage)

    def is_current(self) -> bool:
        """Whether the folder still has the files that are open."""
        try:
            named = (self._folder / grants.USAGE_FILE).stat(), (self._folder / grants.POLICY_FILE).stat()
        except OSError:
            return False
        return (_inode(named[0]), _inode(named[1])) == self._inodes

    def reload_policy(self) -> bool:
        """Read the policy where its sequence moved; whether the claimants are others now.

        One that is being written is left for the next time. Raises Malformed.
        """
        self._check()
        for _ in range(_READ_ATTEMPTS):
            sequence = self._read_sequence()
            if sequence == self._sequence:
                return False
            content = self._view[:]
            if sequence % 2 == 0 and self._read_sequence() == sequence:
                break
        else:
            return False
        limits = policy.unpack(content)
        self._sequence = sequence
        gpus, found = tuple(gpu.gpu for gpu in limits.gpus), claimants(limits)
        if (gpus, found) == (self.gpus, self.claimants):
            return False
        if gpus != self.gpus:
            self._charges = usage.charges(len(gpus))
            self._live_state_words = [policy.live_state_offset(gpu) // 8 for gpu in range(len(gpus))]
            self._no_charge, self._no_waiter = [0] * len(gpus), [False] * len(gpus)
        self.gpus, self.claimants = gpus, found
        self.reset()
        return True

    def reset(self) -> None:
        """Begin anew: nothing is known of what it does, and nothing that was told holds."""
        self.estimates = [lending.IDLE] * len(self.gpus)
        self._forget()
        for gpu in range(len(self.gpus)):
            self.set_live_state(gpu, 0, 0)

    def sample(self) -> Exception | None:
        """Read the account; why it or the policy can't be used. A damaged state says that nothing happens."""
        try:
            self._check()
            head = os.pread(self._usage, self._charges.size, 0)
        except (OSError, errors.Malformed) as error:
            return error
        if head == self._head:
            # Who waits notes it every 10 ms: one that was killed doesn't.
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

    def set_live_state(self, gpu: int, now: float, others: float) -> None:
        """Write the moment of the GPU at this place, in one store."""
        self._words[self._live_state_words[gpu]] = policy.live_state_word(now, others)

    def set_heartbeat(self, moment_ns: int) -> None:
        """Say that what is told holds from now on."""
        self._words[policy.HEARTBEAT_OFFSET // 8] = moment_ns

    def _check(self) -> None:
        """Raises Malformed for a policy that shrank: touching what isn't there any more would kill us."""
        length = os.lseek(self._policy, 0, os.SEEK_END)
        if length != policy.SIZE:
            raise errors.Malformed(f"policy file has {length} bytes, not {policy.SIZE}")

    def _forget(self) -> None:
        """What was read so far says nothing of what comes next."""
        self._head, self._totals = b"", ()
        self.charged, self.waiting = self._no_charge, self._no_waiter

    def _read_sequence(self) -> int:
        found: int = policy.SEQUENCE.unpack_from(self._view, policy.SEQUENCE_OFFSET)[0]
        return found


def claimants(limits: Policy) -> tuple[Claimant, ...]:
    """The container's place on each of its GPUs."""
    return tuple(
        Claimant(limits.compute, gpu.cores, gpu.ceiling, limits.priority, limits.cores_enforced) for gpu in limits.gpus
    )


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
