"""Decide how much compute time each container of one GPU may use now.

Idle shares are lent to soft containers, and low priorities yield to higher ones. Nothing here reads a file or a clock:
the node agent reads the GPU's accounts every 50 ms or so, and passes each reading in.

- A container's demand is its maximum while a launch waits for its share or its use grows clearly; 0 after
  `IDLE_READINGS` readings without work; otherwise its recent use, with some room to grow.
- Priorities are served one after another. Within a priority, demands up to the share come first. The rest is lent to
  soft containers in proportion to their shares, up to their ceilings. Capacity that no container demands is available
  to every soft container.
- A soft container never gets a rate below its share, unless containers of a higher priority are active.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from unigpu.requests import ComputePolicy

FULL = 100.0
"""All of a GPU's compute time, in percent."""
LEAST = 1.0
"""Percent that a yielding container keeps, so that it never starves."""
WINDOW = 4
"""Readings that count as recent. A full demand also lasts this long, so that a share that was just returned to its
owner isn't lent out again at once."""
IDLE_READINGS = 2
GROWTH_FACTOR, GROWTH_MARGIN = 1.25, 2.0
"""A demand is recent use times the factor, plus the margin (percent of the GPU). Use above it counts as growth."""
JUMP_FACTOR = 1.5
"""Use above the demand by this factor is growth at the first reading; any use above it, at the second in a row."""
MAX_BACKLOG_NS = 1_000_000_000
"""Most work to treat as still running. A program can write anything into its account, so it isn't trusted further."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """One container that has a share of a GPU."""

    policy: ComputePolicy
    cores: int
    """Its share, percent; 0: not limited."""
    ceiling: int = 0
    """Percent, for a soft container; 0: as `cores`."""
    priority: int = 0
    """0 is the highest."""
    enforced: bool = True
    """False: libvgpu doesn't throttle it, so it gets no rate; its use still counts."""
    limited: bool = field(init=False)
    """Whether it is held to a share."""
    soft: bool = field(init=False)
    """Whether it can borrow."""
    share: float = field(init=False)
    """Percent that it can claim before anything is lent; all of the GPU if it isn't limited."""
    most: float = field(init=False)
    """Most percent that it may ever use."""

    def __post_init__(self) -> None:
        # Computed once, because every reading needs them.
        limited = self.enforced and self.cores > 0 and self.policy is not ComputePolicy.UNLIMITED
        soft = limited and self.policy is ComputePolicy.SOFT
        share = float(self.cores) if limited else FULL
        object.__setattr__(self, "limited", limited)
        object.__setattr__(self, "soft", soft)
        object.__setattr__(self, "share", share)
        object.__setattr__(self, "most", float(max(self.ceiling, self.cores)) if soft else share)


class ActivityEstimate(NamedTuple):
    """How busy a container is, as far as readings show. A tuple, because each reading creates one a container."""

    recent: tuple[float, ...] = (0.0,) * WINDOW
    """Percent of the GPU used in each of the last readings, the latest last."""
    used: float = 0.0
    """Mean of `recent`."""
    demand: float = 0.0
    """Percent of the GPU that the container could use now."""
    backlog_ns: int = 0
    """GPU time that is charged and hasn't passed yet: a long kernel is charged when it is launched."""
    full_demand_left: int = 0
    """Readings for which the full demand still lasts."""
    above_demand: bool = False
    """Whether the last reading showed more use than the demand before it."""


IDLE = ActivityEstimate()


def update_activity(
    estimate: ActivityEstimate, charged_ns: int, waiting: bool, elapsed_ns: int, most: float
) -> ActivityEstimate:
    """Return the estimate after one more reading of a container that may use at most `most` percent.

    `charged_ns` is the GPU time charged in the `elapsed_ns` since the previous reading. `waiting` tells whether a
    launch waits for the container's share.
    """
    if elapsed_ns <= 0:
        return estimate
    recent, used, before, backlog, full_demand_left, was_above = estimate
    if charged_ns:
        # The charge is negative when a thread returns GPU time that it had reserved and not used.
        backlog = max(min(backlog + charged_ns, MAX_BACKLOG_NS), 0)
    elif not backlog and not used and not waiting:
        return IDLE
    worked = backlog if backlog < elapsed_ns else elapsed_ns
    backlog -= worked
    busy = worked * FULL / elapsed_ns
    recent = (*recent[1:], busy)
    used = sum(recent) / WINDOW
    above = busy > before
    if waiting or (above and before < most and (was_above or busy > max(GROWTH_MARGIN, JUMP_FACTOR * before))):
        return ActivityEstimate(recent, used, most, backlog, WINDOW, above)
    if not busy and not any(recent[-IDLE_READINGS:]):
        return ActivityEstimate(recent, used)
    if full_demand_left > 1:
        return ActivityEstimate(recent, used, most, backlog, full_demand_left - 1, above)
    # Rounded up to whole percents, so that the demand changes less often.
    demand = min(most, ceil(used * GROWTH_FACTOR + GROWTH_MARGIN))
    return ActivityEstimate(recent, used, demand, backlog, 0, above)


def lends(claimants: Sequence[Claimant]) -> bool:
    """Return whether any container on the GPU can borrow or must yield, so that `divide` is needed at all."""
    highest = min((claimant.priority for claimant in claimants), default=0)
    return any(claimant.soft or (claimant.enforced and claimant.priority > highest) for claimant in claimants)


def neighbour_load(estimates: Sequence[ActivityEstimate]) -> list[float]:
    """Return for each container the percent of the GPU that the others used recently."""
    used = [estimate.used for estimate in estimates]
    total = sum(used)
    return [max(total - own, 0.0) for own in used]


def divide(claimants: Sequence[Claimant], demands: Sequence[float]) -> list[float]:
    """Return for each container the percent that it may use now; 0: no rate is set, and its share alone applies."""
    rates = [0.0] * len(claimants)
    left = FULL
    higher_active = False
    for priority in sorted({claimant.priority for claimant in claimants}):
        level = [place for place, claimant in enumerate(claimants) if claimant.priority == priority]
        shares = [claimants[place].share for place in level]
        wanted = [demands[place] for place in level]
        own, left = _distribute(left, shares, [min(pair) for pair in zip(wanted, shares, strict=True)])
        more = [max(demand - taken, 0.0) for demand, taken in zip(wanted, own, strict=True)]
        lent, left = _distribute(left, shares, more)
        for place, taken, loan in zip(level, own, lent, strict=True):
            rates[place] = _rate(claimants[place], taken + loan + left, higher_active=higher_active)
        higher_active = higher_active or any(wanted)
    return rates


def _rate(claimant: Claimant, available: float, *, higher_active: bool) -> float:
    """Return the container's rate, given the percent available to it; 0: none is set."""
    if not claimant.enforced:
        return 0.0
    if higher_active:
        return 0.0 if not claimant.soft and available >= claimant.most else max(LEAST, min(claimant.most, available))
    return max(claimant.share, min(claimant.most, available)) if claimant.soft else 0.0


def _distribute(amount: float, weights: Sequence[float], claims: Sequence[float]) -> tuple[Sequence[float], float]:
    """Divide an amount among claims in proportion to their weights, and return the parts and the rest.

    No part exceeds its claim: the surplus goes to the other claims (max-min fairness).
    """
    claimed = sum(claims)
    if claimed <= amount:
        return claims, amount - claimed
    parts = [0.0] * len(claims)
    if amount <= 0:
        return parts, 0.0
    total = sum(weights)
    level = amount / total
    if all(claim >= weight * level for claim, weight in zip(claims, weights, strict=True)):
        return [weight * level for weight in weights], 0.0
    # As the common level rises, the claim with the smallest ratio to its weight is satisfied first.
    for _, place in sorted([(claim / weights[place], place) for place, claim in enumerate(claims)]):
        parts[place] = min(claims[place], amount * weights[place] / total)
        amount -= parts[place]
        total -= weights[place]
    return parts, 0.0
