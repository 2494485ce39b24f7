"""Decide which nodes take a pod, which of those are best, and which victims make room. Nothing here waits."""

import heapq
from collections.abc import Mapping, Sequence

from scheduler import wire
from scheduler.fit_cache import FitCache
from unigpu import errors, placement
from unigpu.headroom import OPENS
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy, PodRequest


def filter_nodes(fits: FitCache, pod: PodRequest, names: Sequence[str]) -> wire.FilterResult:
    """Return which of the nodes take the pod, and why the others don't.

    The others are all reported as beyond preemption: by their totals, which are all that the kube-scheduler knows, they
    have room without any victim, so it would find none. Nodes whose totals don't suffice never get here; `preempt`
    checks their victims.
    """
    fit = fits.of(pod, names)
    result = wire.FilterResult(NodeNames=fit.fitting)
    if fit.failing:
        result["FailedAndUnresolvableNodes"] = fit.failing
    return result


def refuse_all(names: Sequence[str], why: errors.UnigpuError) -> wire.FilterResult:
    """Return that no node takes the pod, because of the pod itself."""
    return wire.FilterResult(NodeNames=[], FailedAndUnresolvableNodes=dict.fromkeys(names, str(why)))


def prioritize(
    ledger: CapacityLedger,
    policy: PlacementPolicy,
    names: Sequence[str],
    fits: FitCache | None = None,
    pod: PodRequest | None = None,
) -> list[wire.HostPriority]:
    """Return scores: with binpack the fullest of these nodes has the highest, with spread the emptiest.

    With binpack and a pod that asks for shares, the node comes first where the share leaves the least on the GPU that
    it would get, and nodes that would have to open an empty GPU come last. Scores use the whole range, however little
    the nodes differ.
    """
    fullness = ledger.fullness(names)
    if not fullness:
        return []
    if policy is not PlacementPolicy.SPREAD and fits is not None and pod is not None:
        grades = fits.grades(pod, names)
        if grades is not None:
            return _by_grade(names, grades, fullness)
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


def _by_grade(names: Sequence[str], grades: Sequence[int], fullness: Sequence[int]) -> list[wire.HostPriority]:
    """Return a point less for each grade that is worse than the best, so that the best nodes stand out."""
    most = wire.MOST_SCORE
    # Among nodes that open a GPU, the fullest node.
    keys = [grade if grade < OPENS else OPENS - full for grade, full in zip(grades, fullness, strict=True)]
    ranks = {key: most - rank for rank, key in enumerate(heapq.nsmallest(most, set(keys)))}
    return [{"Host": name, "Score": ranks.get(key, 0)} for name, key in zip(names, keys, strict=True)]


def preempt(
    ledger: CapacityLedger, rules: Rules, pod: PodRequest, priority: int, offered: Mapping[str, wire.MetaVictims]
) -> dict[str, wire.MetaVictims]:
    """Return the nodes on which the pod has room once its victims are gone, each with its victims.

    The kube-scheduler chooses victims by the node's totals. They may have shares of the wrong GPUs, and their eviction
    would then make no room. So pods of lower priority are added until there is room: as few as possible, those of the
    lowest priority first. A node on which no set of victims makes room is left out.
    """
    kept: dict[str, wire.MetaVictims] = {}
    for name, victims in offered.items():
        extra = _extra_victims(ledger, rules, pod, priority, name, {victim["UID"] for victim in victims["Pods"]})
        if extra is not None:
            more: list[wire.MetaPod] = [{"UID": uid} for uid in extra]
            kept[name] = {"Pods": victims["Pods"] + more, "NumPDBViolations": victims["NumPDBViolations"]}
    return kept


def _extra_victims(
    ledger: CapacityLedger, rules: Rules, pod: PodRequest, priority: int, name: str, chosen: set[str]
) -> list[str] | None:
    def fits(gone: set[str]) -> bool:
        node = ledger.without(name, gone)
        return node is not None and placement.reason(node, pod, rules) is None

    if fits(chosen):
        return []
    lower = {
        uid: booking
        for uid, booking in ledger.confirmed_on(name).items()
        if booking.priority < priority and uid not in chosen
    }
    needed = chosen | lower.keys()
    if not fits(needed):
        return None
    for uid in sorted(lower, key=lambda uid: (-lower[uid].priority, lower[uid].pod)):
        if fits(needed - {uid}):
            needed = needed - {uid}
    return sorted(needed - chosen)
