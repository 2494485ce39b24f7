"""Choose the set of GPUs with the best links: branch and bound, with a proof that no set is better.

Sets are compared by their weakest link, then by the sum of their links, then by the order of the candidates. The search
first finds the weakest link that a set can keep, which is the question for a clique in the graph of links that are at
least that good, and then, among those sets, the largest sum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

EFFORT = 600_000
"""How long to search before the best set so far is taken: steps, each as long as the square of the number of
candidates. A node says itself how its GPUs are linked, and could say what takes years. No node of 16 GPUs in the tests
needs a quarter of it."""

Links = Sequence[Sequence[int]]
"""Quality of the link between each two candidates; symmetric, and the diagonal isn't read."""


def best(links: Links, count: int, effort: int = EFFORT) -> tuple[int, ...]:
    """Return the positions of the `count` candidates with the best links, in ascending order.

    Of equal sets it is the lexicographically first. `count` is between 1 and the number of candidates. With less
    `effort` than the search needs, a set with worse links may be returned.
    """
    size = len(links)
    if count == 1:
        return (0,)
    if count == size:
        return tuple(range(size))
    levels = sorted({links[one][other] for one in range(size) for other in range(one)}, reverse=True)
    steps = max(1, effort // size**2)
    cliques = _Cliques(steps)
    # The weakest link of a set is one of the levels; more sets qualify as it falls.
    # At the last all are neighbours: any set qualifies.
    low, high, known = 0, len(levels) - 1, tuple(range(count))
    while low < high:
        middle = (low + high) // 2
        found = cliques.find(_neighbours(links, levels[middle]), (1 << size) - 1, count)
        if found is not None:
            high, known = middle, tuple(sorted(found))
        else:
            low = middle + 1
    return _Search(links, count, steps, known).run(_neighbours(links, levels[low]))


def _neighbours(links: Links, level: int) -> list[int]:
    """Return for each candidate, as bits, the others to which its link is at least that good."""
    size = len(links)
    return [
        sum(1 << other for other in range(size) if other != one and links[one][other] >= level) for one in range(size)
    ]


@dataclass(slots=True)
class _Cliques:
    """Looks for candidates that are all neighbours of each other."""

    left: int
    """Steps; without any left there is none, as far as is known."""

    def find(self, neighbours: Sequence[int], candidates: int, count: int) -> tuple[int, ...] | None:
        """Return `count` of the candidates that are, None where there are no such, or none were found in time."""
        if count == 0:
            return ()
        # A member needs count - 1 neighbours among the candidates; the others go first.
        while True:
            kept = sum(
                1 << one for one in _members(candidates) if (neighbours[one] & candidates).bit_count() >= count - 1
            )
            if kept == candidates:
                break
            candidates = kept
        for one in _members(candidates):
            self.left -= 1
            if candidates.bit_count() < count or self.left < 0:
                return None
            rest = self.find(neighbours, candidates & neighbours[one], count - 1)
            if rest is not None:
                return (one, *rest)
            candidates &= ~(1 << one)
        return None


def _members(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


@dataclass(slots=True)
class _Search:
    """The search for the largest sum among sets whose links are all good enough."""

    links: Links
    count: int
    left: int
    """Steps."""
    known: tuple[int, ...]
    """A set whose links are all good enough."""
    sum: int = -1
    found: tuple[int, ...] = ()
    neighbours: Sequence[int] = field(default_factory=tuple)

    def run(self, neighbours: Sequence[int]) -> tuple[int, ...]:
        self.neighbours = neighbours
        size = len(self.links)
        # A sum that is reached anyway spares most of the search, which still finds the first set in order that has it.
        grown = [self.known, *filter(None, (self._grow(seed) for seed in range(size)))]
        reached = max(grown, key=self._sum)
        self.sum = self._sum(reached) - 1
        self._extend((), 0, (1 << size) - 1, [0] * size)
        return self.found or tuple(sorted(reached))

    def _extend(self, chosen: tuple[int, ...], total: int, candidates: int, gains: Sequence[int]) -> None:
        """Add candidates, which are all neighbours of those chosen. `gains` are the sums of their links to those."""
        missing = self.count - len(chosen)
        if not missing:
            self.sum, self.found = total, chosen
            return
        for one in _members(candidates):
            if candidates.bit_count() < missing or self.left <= 0:
                return
            if total + self._bound(candidates, gains, missing) <= self.sum:
                return
            candidates &= ~(1 << one)
            rest = candidates & self.neighbours[one]
            if rest.bit_count() < missing - 1:
                continue
            self.left -= 1
            row = self.links[one]
            reached = total + gains[one]
            if missing == 1:
                if reached > self.sum:
                    self.sum, self.found = reached, (*chosen, one)
                continue
            self._extend((*chosen, one), reached, rest, [gain + link for gain, link in zip(gains, row, strict=True)])

    def _bound(self, candidates: int, gains: Sequence[int], missing: int) -> int:
        """Return a sum that no choice of `missing` candidates exceeds, links to those chosen included.

        Each member counts its links to those chosen, and half of its best links to other members.
        """
        members = list(_members(candidates))
        if missing == 1:
            return max(gains[one] for one in members)
        worth = []
        for one in members:
            row = self.links[one]
            inner = sorted((row[other] for other in members if other != one), reverse=True)[: missing - 1]
            worth.append(2 * gains[one] + sum(inner))
        worth.sort(reverse=True)
        return sum(worth[:missing]) // 2

    def _grow(self, seed: int) -> tuple[int, ...]:
        """Return a set grown from one candidate, each time by the one with the best links to it; empty: none."""
        chosen, candidates = [seed], self.neighbours[seed]
        while len(chosen) < self.count:
            if not candidates:
                return ()
            one = max(_members(candidates), key=lambda other: sum(self.links[other][member] for member in chosen))
            chosen.append(one)
            candidates &= self.neighbours[one]
        return tuple(chosen)

    def _sum(self, members: Sequence[int]) -> int:
        return sum(self.links[one][other] for place, one in enumerate(members) for other in members[:place])
