"""What bookings say to `victims`: who may be evicted, under which budgets, and what the node's totals lack. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from unigpu import pod_resources
from unigpu.budgets import Budget
from unigpu.evictees import Evictee
from unigpu.ledger import Booking
from unigpu.pod_resources import OWN, Amounts
from unigpu.victims import Candidate

UNKNOWN = Evictee()


def candidates(
    bookings: Mapping[str, Booking], budgets_of: Callable[[str], Sequence[Budget]]
) -> tuple[dict[str, Candidate], tuple[int, ...]]:
    """Return the candidates that these bookings are, by UID, and how many evictions each budget of theirs allows.

    `budgets_of` returns the budgets of a namespace.
    """
    found: dict[str, int] = {}
    allowed: list[int] = []
    result = {}
    for uid, booking in bookings.items():
        known = booking.evictee or UNKNOWN
        own = []
        namespace, _, name = booking.pod.partition("/")
        protecting = budgets_of(namespace)
        labels = known.labels if protecting else {}
        for budget in protecting:
            if budget.protects(namespace, name, labels):
                if budget.title not in found:
                    found[budget.title] = len(allowed)
                    allowed.append(budget.allowed)
                own.append(found[budget.title])
        result[uid] = Candidate(booking.uses, booking.priority, known.started, known.leaving, known.amounts, tuple(own))
    return result, tuple(allowed)


def amounts(booking: Booking) -> Amounts:
    """Return what a pod takes of the node's totals; of one whose spec hasn't been seen, at least that."""
    if booking.evictee is not None:
        return booking.evictee.amounts
    uses = booking.uses.values()
    sums = sum(use.shares for use in uses), sum(use.memory for use in uses), sum(use.cores for use in uses)
    return {name: 1000 * amount for name, amount in zip(OWN, sums, strict=True)}


def lacking(
    wanted: Amounts, offers: Amounts, bookings: Iterable[Booking], more: Iterable[Amounts] = ()
) -> dict[str, int]:
    """Return what the node's totals of unigpu's own resources lack for a pod; 0 or less: nothing.

    Resources that the node doesn't offer, or whose amount isn't known, are left out. `more` is taken too.
    """
    used = pod_resources.total([*map(amounts, bookings), *more])
    return {name: wanted[name] + used.get(name, 0) - offers[name] for name in OWN if name in wanted and name in offers}
