"""The policy file on disk: read as its one writer leaves it, changed in place, mapped for what changes often.

`unigpu.policy` has the layout and the rule of its sequence: odd while the file is being written.

A container that runs as root can take a lease on its files, and an ordinary open would then wait for 45 s. Nothing here
waits: a file with a lease raises BlockingIOError, and the kernel ends the lease after that time.
"""

import mmap
import os
from pathlib import Path

from unigpu import errors, policy, wishes
from unigpu.policy import Policy
from unigpu_node import files

TURNS = 100
"""How often a policy that is being written is read again, before the reader gives up."""


class Busy(errors.Unavailable):
    """The policy is being written all the time."""


def create(file: Path, wanted: Policy) -> None:
    """Write a new policy file, at once. Raises OSError, Malformed."""
    files.write(file, policy.pack(wanted))


def read(file: Path) -> Policy:
    """Return the policy, read between two writes.

    Raises OSError; Malformed where the file isn't a policy; Busy where no two readings agree.
    """
    for _ in range(TURNS):
        content, again = _content(file), _content(file)
        sequence = sequence_of(content)
        if not sequence & 1 and sequence == sequence_of(again) and policy.guarded(content) == policy.guarded(again):
            return policy.unpack(content)
    raise Busy(f"policy file {file} is being written all the time")


def open_at_once(file: str | Path, flags: int) -> int:
    """Return a descriptor. Raises OSError; BlockingIOError, at once, where a container has a lease on the file."""
    return os.open(file, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def rewrite(file: Path, wanted: Policy) -> bool:
    """Change the policy in place, as its readers expect it; return whether it said anything else before.

    Raises OSError; Malformed for a file of another size.
    """
    descriptor = open_at_once(file, os.O_RDWR)
    try:
        present = os.pread(descriptor, policy.SIZE + 1, 0)
        if len(present) != policy.SIZE:
            raise errors.Malformed(f"policy file has {len(present)} bytes, not {policy.SIZE}")
        sequence = sequence_of(present)
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


def answer(file: Path, number: int, refusal: str) -> None:
    """Write the answer to the wish of that number. Raises OSError; Malformed for a file of another size."""
    descriptor = open_at_once(file, os.O_RDWR)
    try:
        length = os.lseek(descriptor, 0, os.SEEK_END)
        if length != policy.SIZE:
            raise errors.Malformed(f"policy file has {length} bytes, not {policy.SIZE}")
        os.pwrite(descriptor, wishes.ANSWER_NUMBER.pack(0), wishes.ANSWER_OFFSET)
        os.pwrite(descriptor, wishes.answer(refusal), wishes.ANSWER_OFFSET + wishes.ANSWER_NUMBER.size)
        os.pwrite(descriptor, wishes.ANSWER_NUMBER.pack(number), wishes.ANSWER_OFFSET)
    finally:
        os.close(descriptor)


def _content(file: Path) -> bytes:
    """The whole file, and one byte more where it is too long."""
    descriptor = open_at_once(file, os.O_RDONLY)
    try:
        return os.pread(descriptor, policy.SIZE + 1, 0)
    finally:
        os.close(descriptor)


def sequence_of(content: bytes) -> int:
    """Return the sequence of a file's content; 0 for what is too short, which `unpack` then refuses."""
    if len(content) < policy.GPUS_OFFSET:
        return 0
    found: int = policy.SEQUENCE.unpack_from(content, policy.SEQUENCE_OFFSET)[0]
    return found


def read_live_rates(path: str | Path, gpus: int, now_ns: int) -> tuple[float, ...]:
    """Return what each GPU's `current_rate` says, percent, 0 where it is unset or no longer holds.

    `now_ns`: CLOCK_MONOTONIC. Raises OSError, Malformed.
    """
    length = policy.GPUS_OFFSET + policy.ENTRY_SIZE * gpus
    descriptor = open_at_once(path, os.O_RDONLY)
    try:
        head = os.pread(descriptor, length, 0)
    finally:
        os.close(descriptor)
    if len(head) < length:
        raise errors.Malformed(f"policy file has {len(head)} bytes, not {policy.SIZE}")
    return live_rates(head, gpus, now_ns)


def live_rates(head: bytes, gpus: int, now_ns: int) -> tuple[float, ...]:
    """Return the same from a policy's beginning, which must have the entries of so many GPUs."""
    if policy.HEARTBEAT.unpack_from(head, policy.HEARTBEAT_OFFSET)[0] + policy.FRESH_NS <= now_ns:
        return (0.0,) * gpus
    return tuple([policy.read_live_state(head, gpu)[0] for gpu in range(gpus)])


class Mapped:
    """A policy that its writer keeps open and mapped, so that a GPU's live state is one store, never read in part."""

    def __init__(self, file: Path) -> None:
        """Raises OSError; Malformed for a file of another size."""
        self.descriptor = open_at_once(file, os.O_RDWR)
        try:
            self.check()
            self._view = mmap.mmap(self.descriptor, policy.SIZE)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._words = memoryview(self._view).cast("Q")
        self.heartbeat = memoryview(self._view)[
            policy.HEARTBEAT_OFFSET : policy.HEARTBEAT_OFFSET + policy.HEARTBEAT.size
        ]
        """The place of the heartbeat, into which the kernel copies: see `unigpu_node.heartbeats`."""

    def close(self) -> None:
        """Let the file go."""
        self.heartbeat.release()
        self._words.release()
        self._view.close()
        os.close(self.descriptor)

    def check(self) -> None:
        """Raise Malformed where the file shrank: touching what isn't there any more would kill the process."""
        length = os.lseek(self.descriptor, 0, os.SEEK_END)
        if length != policy.SIZE:
            raise errors.Malformed(f"policy file has {length} bytes, not {policy.SIZE}")

    @property
    def sequence(self) -> int:
        """Odd while the policy is being written."""
        found: int = policy.SEQUENCE.unpack_from(self._view, policy.SEQUENCE_OFFSET)[0]
        return found

    def content(self) -> bytes:
        """Return a copy of the whole file."""
        return self._view[:]

    def set_live_state(self, gpu: int, current_rate: float, neighbour_load: float) -> None:
        """Write the live state of the GPU at this place of the policy, percent both, in one store."""
        self._words[policy.live_state_offset(gpu) // 8] = policy.live_state_word(current_rate, neighbour_load)
