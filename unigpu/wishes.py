"""Limits for which a container's program asks from inside, and the node agent's answer.

A program whose environment names a limit above its container's (`CUDA_DEVICE_MEMORY_LIMIT_0=300m`) writes a wish into
the usage file, and waits for the answer in the policy file, `PATIENCE_NS` at most. Both lie behind everything else in
the files' headers, where files of earlier versions have zeros. `libvgpu/shared/wish.c` is the other side.

    usage file   3200  272  wish:    0 8 number: CLOCK_MONOTONIC when it was written, ns; 0 none, or being written
                                     16 16n GPUs: 0 8 memory, bytes, 0 none · 8 4 cores, percent, 0 none
    policy file  2112  416  answer:  0 8 number of the wish that it answers; 0 none, or being written
                                     8 4 1 granted, 0 refused · 16 400 why it was refused, NUL padded

Every program of the container can write any wish at any time. So a wish grants nothing: it becomes a change of the
annotation `unigpu.dev/limits`, which is checked as everybody's, and `Pace` bounds how many of them are.
"""

import dataclasses
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from unigpu import errors
from unigpu.allocations import Share
from unigpu.limits import Limit
from unigpu.requests import ComputePolicy, Request
from unigpu.units import BYTES_PER_MIB, MiB, Percent

WISH_OFFSET = 3200
WISH_SIZE = 272
WISH_LOCK = 1024
"""Place of the lock, after those of the slots, that the program holds while it waits."""
ANSWER_OFFSET = 2112
ANSWER_TEXT = 400
PATIENCE_NS = 2_000_000_000
"""How long a program waits. Nobody waits for the answer to an older wish."""
BURST = 5
"""Wishes of one container that are considered at once,"""
INTERVAL_NS = 1_000_000_000
"""and the time after which one more is."""

Amount = TypeVar("Amount", MiB, Percent)

_HEAD = struct.Struct("<Q8x")
_GPU = struct.Struct("<QI4x")
ANSWER_NUMBER = struct.Struct("<Q")
_ANSWER = struct.Struct(f"<I4x{ANSWER_TEXT}s")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a program asks for."""

    number: int
    """CLOCK_MONOTONIC when it was written, ns, if the program is honest."""
    memory: Sequence[MiB]
    """By GPU, in the container's order; 0: none."""
    cores: Sequence[Percent]

    def stale(self, now_ns: int) -> bool:
        """Return whether no program can be waiting for the answer any more, or yet."""
        return not self.number <= now_ns < self.number + PATIENCE_NS


def unpack(content: bytes, gpus: int) -> Wish | None:
    """Return the wish of a container with so many GPUs; None where there is none.

    `content`: the WISH_SIZE bytes at WISH_OFFSET of its usage file.
    """
    if len(content) < WISH_SIZE:
        return None
    number: int = _HEAD.unpack_from(content)[0]
    if number == 0:
        return None
    read = [_GPU.unpack_from(content, _HEAD.size + gpu * _GPU.size) for gpu in range(gpus)]
    return Wish(number, [MiB(-(-memory // BYTES_PER_MIB)) for memory, _ in read], [Percent(cores) for _, cores in read])


def answer(refusal: str) -> bytes:
    """Return what stands behind the number of an answer; an empty refusal grants."""
    text = refusal.encode()
    if len(text) >= ANSWER_TEXT:
        text = text[: ANSWER_TEXT - 4].decode(errors="ignore").encode() + "…".encode()
    return _ANSWER.pack(not refusal, text)


def read_answer(content: bytes) -> tuple[int, bool, str]:
    """Return number, whether it was granted, and the refusal, of a policy file."""
    granted, text = _ANSWER.unpack_from(content, ANSWER_OFFSET + ANSWER_NUMBER.size)
    return ANSWER_NUMBER.unpack_from(content, ANSWER_OFFSET)[0], bool(granted), text.rstrip(b"\0").decode()


def wanted(wish: Wish, request: Request, shares: Sequence[Share], limit: Limit) -> Limit:
    """Return the container's limits with the wish in place of what it exceeds; the same where it exceeds nothing.

    `request`, `shares`: as they are in force, in the container's order; `limit`: the annotation's entry.
    Raises Denied where the wish differs between the container's GPUs, because limits can't.
    """
    if any(one.memory and one.memory < memory for one, memory in zip(shares, wish.memory, strict=True)):
        limit = dataclasses.replace(limit, memory=_same("memory", "MiB", wish.memory))
    if request.policy is ComputePolicy.UNLIMITED or not request.cores:
        return limit
    soft = request.policy is ComputePolicy.SOFT
    most = [max(request.ceiling, one.cores) if soft else one.cores for one in shares]
    if any(has < cores for has, cores in zip(most, wish.cores, strict=True)):
        cores = _same("cores", "%", wish.cores)
        if soft:
            return dataclasses.replace(limit, ceiling=cores)
        return dataclasses.replace(limit, cores=cores, ceiling=None)
    return limit


def _same(what: str, unit: str, amounts: Sequence[Amount]) -> Amount:
    if len(set(amounts)) > 1:
        shown = ", ".join(str(amount) if amount else "none" for amount in amounts)
        why = "a container's limits are the same on each of its GPUs"
        raise errors.Denied(
            f"{what} = {shown}: {why}; accepted: one value for all of them, such as {max(amounts)} {unit}"
        )
    return amounts[0]


def options(before: Limit, after: Limit) -> str:
    """Return the difference as options of `kubectl unigpu limit`."""
    changed = [
        f"--{key} {value}"
        for key in ("memory", "cores", "ceiling")
        if (value := getattr(after, key)) is not None and value != getattr(before, key)
    ]
    return " ".join(changed)


@dataclass(slots=True)
class Pace:
    """How many wishes of one container are considered."""

    left: float = BURST
    at_ns: int = 0

    def take(self, now_ns: int) -> bool:
        """Return whether one more is considered now."""
        self.left = min(BURST, self.left + (now_ns - self.at_ns) / INTERVAL_NS)
        self.at_ns = now_ns
        if self.left < 1:
            return False
        self.left -= 1
        return True
