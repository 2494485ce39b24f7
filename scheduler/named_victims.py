"""Victims that were named to the kube-scheduler for a pod, until they are seen to leave.

The kube-scheduler evicts them in the background, and takes up the next pod at once. That they are being deleted, and
where the pod is nominated, shows here moments later. Until then another urgent pod would be given the same victims, or
more pods would be evicted than both need.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scheduler.nominations import Nominations, Nominee
from unigpu.ledger import Booking

UNSEEN = 10.0
"""Seconds after which victims that aren't seen to leave count as spared: the kube-scheduler chose another node, or
couldn't evict them."""


Victims = dict[str, Booking]
"""By UID, with what each had when it was named: the kube-scheduler may count it for a moment after it is gone."""


@dataclass(frozen=True, slots=True)
class _Named:
    nominee: Nominee
    """As it would be on any of these nodes."""
    nodes: Mapping[str, Mapping[str, tuple[Booking, float]]]
    """By node and UID, each with the time until which it counts."""


@dataclass(frozen=True, slots=True)
class Going:
    """What happens on a node, and doesn't show yet."""

    victims: Victims = field(default_factory=dict)
    """Those that leave for other pods."""
    nominees: tuple[Nominee, ...] = ()
    """Pods for which they go and whose nomination doesn't show yet."""
    own: Victims = field(default_factory=dict)
    """Those that were named for the pod itself. Where it asks again, the kube-scheduler may not have evicted them."""


class NamedVictims:
    """All that were named of late. Nearly always none."""

    def __init__(self, waiting: Nominations, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` has seconds."""
        self._waiting = waiting
        self._clock = clock
        self._named: dict[str, _Named] = {}

    def note(self, nominee: Nominee, victims: Mapping[str, Victims]) -> None:
        """Note which victims were named for a pod, by node; the kube-scheduler will choose one of the nodes."""
        if not victims:
            return
        self._expire()
        former = self._named.get(nominee.uid)
        known = {} if former is None else former.nodes
        until = self._clock() + UNSEEN
        nodes = {
            node: {**known.get(node, {}), **{uid: (booking, until) for uid, booking in those.items()}}
            for node, those in victims.items()
        }
        self._named[nominee.uid] = _Named(nominee, nodes)

    def forget(self, uid: str) -> None:
        """Forget what was named for a pod that is bound by now, or gone."""
        self._named.pop(uid, None)

    def on(self, node: str, uid: str) -> Going:
        """Return what happens on the node, as a pod with that UID sees it."""
        found = Going()
        if not self._named:
            return found
        self._expire()
        nominees = []
        for other, named in self._named.items():
            those = [(victim, booking) for victim, (booking, _) in named.nodes.get(node, {}).items()]
            nominated = self._waiting.node_of(other)
            if other == uid:
                found.own.update(those)
            elif nominated == node:
                found.victims.update(those)
            elif nominated is None and those and len(named.nodes) == 1:  # else it isn't known which was chosen
                found.victims.update(those)
                nominees.append(named.nominee)
        return Going(found.victims, tuple(nominees), found.own)

    def _expire(self) -> None:
        now = self._clock()
        self._named = {uid: left for uid, named in self._named.items() if (left := _unexpired(named, now)).nodes}


def _unexpired(named: _Named, now: float) -> _Named:
    nodes = {
        node: {uid: entry for uid, entry in those.items() if now < entry[1]} for node, those in named.nodes.items()
    }
    return _Named(named.nominee, {node: those for node, those in nodes.items() if those})
