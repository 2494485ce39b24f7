"""Filter and prioritize: which nodes take a pod, and which of those are best. Decisions only; nothing here waits."""

from collections.abc import Mapping, Sequence

from scheduler import wire
from scheduler.verdicts import Verdicts
from unigpu import errors, placement
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy, PodRequest

FEW = 16
"""Up to that many failing nodes, each says how many GPUs lack what; above, reasons are kept alike, so that they add up
in the kube-scheduler's message."""


def filter_nodes(verdicts: Verdicts, pod: PodRequest, names: Sequence[str]) -> wire.FilterResult:
    """Which of the nodes take the pod.

    The others are all said to be beyond preemption. For the kube-scheduler they have room without any victim, so it
    would find none; nodes whose totals don't suffice never get here, and their victims are looked at by `preempt`.
    """
    verdict = verdicts.of(pod, names)
    result = wire.FilterResult(NodeNames=verdict.fitting)
    if verdict.failing:
        counted = len(verdict.failing) <= FEW
        result["FailedAndUnresolvableNodes"] = {
            name: reason.text if counted else reason.brief for name, reason in verdict.failing.items()
        }
    return result


def refuse_all(names: Sequence[str], why: errors.UnigpuError) -> wire.FilterResult:
    """No node takes the pod, because of the pod itself."""
    return wire.FilterResult(NodeNames=[], FailedAndUnresolvableNodes=dict.fromkeys(names, str(why)))


def prioritize(books: CapacityLedger, policy: PlacementPolicy, names: Sequence[str]) -> list[wire.HostPriority]:
    """Scores: with binpack the fullest of these nodes has the most, with spread the emptiest.

    They are spread over the whole range, however little the nodes differ.
    """
    fullness = books.fullness(names)
    if not fullness:
        return []
    low, high = min(fullness), max(fullness)
    if low == high:
        return [{"Host": name, "Score": 0} for name in names]
    span = high - low
    most = wire.MOST_SCORE
    if policy is PlacementPolicy.SPREAD:
        scores = [(high - full) * most // span for full in fullness]
    else:
        scores = [(full - low) * most // span for full in fullness]
    return [{"Host": name, "Score": score} for name, score in zip(names, scores, strict=True)]


def preempt(
    books: CapacityLedger, rules: Rules, pod: PodRequest, priority: int, offered: Mapping[str, wire.MetaVictims]
) -> dict[str, wire.MetaVictims]:
    """Nodes on which the pod has room once its victims are gone, each with its victims.

    The kube-scheduler chooses victims by the node's totals; they may sit on the wrong GPUs, and would die for nothing.
    So others of lower priority are added where that makes room, as few as will do, those of the lowest priority first;
    and where nothing does, the node is left out.
    """
    kept: dict[str, wire.MetaVictims] = {}
    for name, victims in offered.items():
        extra = _extra_victims(books, rules, pod, priority, name, {victim["UID"] for victim in victims["Pods"]})
        if extra is not None:
            more: list[wire.MetaPod] = [{"UID": uid} for uid in extra]
            kept[name] = {"Pods": victims["Pods"] + more, "NumPDBViolations": victims["NumPDBViolations"]}
    return kept


def _extra_victims(
    books: CapacityLedger, rules: Rules, pod: PodRequest, priority: int, name: str, chosen: set[str]
) -> list[str] | None:
    def fits(gone: set[str]) -> bool:
        node = books.without(name, gone)
        return node is not None and placement.reason(node, pod, rules) is None

    if fits(chosen):
        return []
    lower = {
        uid: booking
        for uid, booking in books.confirmed_on(name).items()
        if booking.priority < priority and uid not in chosen
    }
    needed = chosen | lower.keys()
    if not fits(needed):
        return None
    for uid in sorted(lower, key=lambda uid: (-lower[uid].priority, lower[uid].pod)):
        if fits(needed - {uid}):
            needed = needed - {uid}
    return sorted(needed - chosen)
