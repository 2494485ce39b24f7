"""Filter and prioritize: which nodes take a pod, and which of those are best. Decisions only; nothing here waits."""

from collections.abc import Mapping, Sequence

from scheduler import wire
from scheduler.verdicts import Verdicts
from unigpu import errors, placement
from unigpu.books import Books
from unigpu.placement import Rules
from unigpu.requests import PodRequest, Spread

FEW = 16
"""Up to that many failing nodes, each says how many cards lack what; above, reasons are kept alike, so that they add up
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


def prioritize(books: Books, policy: Spread, names: Sequence[str]) -> list[wire.HostPriority]:
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
    if policy is Spread.SPREAD:
        scores = [(high - full) * most // span for full in fullness]
    else:
        scores = [(full - low) * most // span for full in fullness]
    return [{"Host": name, "Score": score} for name, score in zip(names, scores, strict=True)]


def preempt(
    books: Books, rules: Rules, pod: PodRequest, offered: Mapping[str, wire.MetaVictims]
) -> dict[str, wire.MetaVictims]:
    """Nodes on which the pod really has room once those victims are gone.

    The kube-scheduler chooses victims by the node's totals; they may sit on the wrong cards, and then die for nothing.
    """
    kept: dict[str, wire.MetaVictims] = {}
    for name, victims in offered.items():
        node = books.without(name, {victim["UID"] for victim in victims["Pods"]})
        if node is not None and placement.reason(node, pod, rules) is None:
            kept[name] = victims
    return kept
