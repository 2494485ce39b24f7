"""Who on a GPU may use what at the moment: idle shares are lent to soft containers, and low priorities yield.

One GPU at a time, from what its containers were promised and what they were seen to use. Nothing here reads a file or
a clock. A look is one reading of all accounts of the GPU, some 50 ms after the one before.

- A container's demand is its whole ceiling while it waits for its share or uses clearly more than before, nothing after
  `IDLE_LOOKS` looks without work, and else what it used lately with some room to grow.
- Priorities are served one after another; within one, demands up to the share come first, and what is then left goes to
  soft containers by their shares, up to their ceilings. What nobody demands is open to each soft one.
- A soft container is never told less than its share, unless containers of a higher priority work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from unigpu.requests import ComputePolicy

FULL = 100.0
"""Percent."""
LEAST = 1.0
"""Percent that a container which must yield keeps, so that it isn't starved for ever."""
WINDOW = 4
"""Looks that count as lately, and for which a demand for all stays: what was given back isn't lent again at once."""
IDLE_LOOKS = 2
ROOM_FACTOR, ROOM = 1.25, 2.0
"""What may be used above what was used lately, as a factor and percent of the GPU, before it counts as growth."""
LEAP = 1.5
"""Use of that many times the demand is growth at the first look; any use above it at the second."""
MOST_BACKLOG_NS = 1_000_000_000
"""Work that counts as still to be done at most: an account is written by programs, which may write anything."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """One container's place on a GPU."""

    policy: ComputePolicy
    cores: int
    """Its share, percent; 0 is not limited."""
    ceiling: int = 0
    """Percent, for soft ones; 0 is as `cores`."""
    priority: int = 0
    """0 is high."""
    enforced: bool = True
    """False: nothing holds it, so that it is told nothing; what it uses counts all the same."""
    limited: bool = field(init=False)
    """Whether it has a share that is held."""
    soft: bool = field(init=False)
    """Whether something can be lent to it."""
    share: float = field(init=False)
    """What it takes before anything is lent; the GPU where it isn't limited."""
    most: float = field(init=False)
    """Percent that it may ever use."""

    def __post_init__(self) -> None:
        # Worked out once: each look asks for them.
        limited = self.enforced and self.cores > 0 and self.policy is not ComputePolicy.UNLIMITED
        soft = limited and self.policy is ComputePolicy.SOFT
        share = float(self.cores) if limited else FULL
        object.__setattr__(self, "limited", limited)
        object.__setattr__(self, "soft", soft)
        object.__setattr__(self, "share", share)
        object.__setattr__(self, "most", float(max(self.ceiling, self.cores)) if soft else share)


class ActivityEstimate(NamedTuple):
    """How a container works, as far as looks have shown. A tuple, because each look makes one for each container."""

    recent: tuple[float, ...] = (0.0,) * WINDOW
    """Percent of the GPU in each of the last looks, the latest last."""
    used: float = 0.0
    """Percent of the GPU that was used lately."""
    demand: float = 0.0
    """Percent."""
    backlog_ns: int = 0
    """Charged, and not worked off yet: a long kernel is charged when it is launched."""
    pressing: int = 0
    """Looks for which the demand for all stays."""
    above: bool = False
    """Whether the last look saw more use than was wished."""


IDLE = ActivityEstimate()


def update_activity(
    estimate: ActivityEstimate, charged_ns: int, waiting: bool, elapsed_ns: int, most: float
) -> ActivityEstimate:
    """The estimate after one more look, of a container that may use `most` percent.

    `charged_ns` is the GPU time charged in the `elapsed_ns` since the look before, `waiting` whether a launch waits for
    its share.
    """
    if elapsed_ns <= 0:
        return estimate
    recent, used, before, backlog, pressing, was_above = estimate
    if charged_ns:
        # Less than nothing: what was taken ahead and not needed is given back.
        backlog = max(min(backlog + charged_ns, MOST_BACKLOG_NS), 0)
    elif not backlog and not used and not waiting:
        return IDLE
    worked = backlog if backlog < elapsed_ns else elapsed_ns
    backlog -= worked
    busy = worked * FULL / elapsed_ns
    recent = (*recent[1:], busy)
    used = sum(recent) / WINDOW
    above = busy > before
    if waiting or (above and before < most and (was_above or busy > max(ROOM, LEAP * before))):
        return ActivityEstimate(recent, used, most, backlog, WINDOW, above)
    if not busy and not any(recent[-IDLE_LOOKS:]):
        return ActivityEstimate(recent, used)
    if pressing > 1:
        return ActivityEstimate(recent, used, most, backlog, pressing - 1, above)
    # Whole percents change less often.
    return ActivityEstimate(recent, used, min(most, ceil(used * ROOM_FACTOR + ROOM)), backlog, 0, above)


def lends(claimants: Sequence[Claimant]) -> bool:
    """Whether anybody on the GPU can be lent to, or must yield."""
    highest = min((claimant.priority for claimant in claimants), default=0)
    return any(claimant.soft or (claimant.enforced and claimant.priority > highest) for claimant in claimants)


def neighbour_load(estimates: Sequence[ActivityEstimate]) -> list[float]:
    """Percent of the GPU that the others than each container used lately."""
    used = [estimate.used for estimate in estimates]
    total = sum(used)
    return [max(total - own, 0.0) for own in used]


def divide(claimants: Sequence[Claimant], demands: Sequence[float]) -> list[float]:
    """Percent that each container may use at the moment; 0: nothing is said, and its share alone holds."""
    said = [0.0] * len(claimants)
    left = FULL
    held = False
    for priority in sorted({claimant.priority for claimant in claimants}):
        level = [place for place, claimant in enumerate(claimants) if claimant.priority == priority]
        shares = [claimants[place].share for place in level]
        wanted = [demands[place] for place in level]
        own, left = _fill(left, shares, [min(pair) for pair in zip(wanted, shares, strict=True)])
        more = [max(demand - taken, 0.0) for demand, taken in zip(wanted, own, strict=True)]
        lent, left = _fill(left, shares, more)
        for place, taken, loan in zip(level, own, lent, strict=True):
            said[place] = _say(claimants[place], taken + loan + left, held=held)
        held = held or any(wanted)
    return said


def _say(claimant: Claimant, open_to_it: float, *, held: bool) -> float:
    """What the container is told; `held`: others of a higher priority work."""
    if not claimant.enforced:
        return 0.0
    if held:
        return 0.0 if not claimant.soft and open_to_it >= claimant.most else max(LEAST, min(claimant.most, open_to_it))
    return max(claimant.share, min(claimant.most, open_to_it)) if claimant.soft else 0.0


def _fill(amount: float, weights: Sequence[float], most: Sequence[float]) -> tuple[Sequence[float], float]:
    """Divide an amount among claims of at most so much each, by weight; what one doesn't claim goes to the others.

    What each gets, and what is left.
    """
    claimed = sum(most)
    if claimed <= amount:
        return most, amount - claimed
    given = [0.0] * len(most)
    if amount <= 0:
        return given, 0.0
    total = sum(weights)
    level = amount / total
    if all(claim >= weight * level for claim, weight in zip(most, weights, strict=True)):
        return [weight * level for weight in weights], 0.0
    # Whoever is satisfied first as the common level rises comes first.
    for _, place in sorted([(claim / weights[place], place) for place, claim in enumerate(most)]):
        given[place] = min(most[place], amount * weights[place] / total)
        amount -= given[place]
        total -= weights[place]
    return given, 0.0
