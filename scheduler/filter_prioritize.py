"""Decide which nodes take a pod, and which of those are best. Nothing here waits."""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from scheduler import nominations, wire
from scheduler.fit_cache import FitCache
from scheduler.nominations import Nominations
from unigpu import api_objects, errors, placement
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy, PodRequest


def filter_nodes(fits: FitCache, pod: PodRequest, names: Sequence[str]) -> wire.FilterResult:
    """Return which of the nodes take the pod, and why the others don't.

    The others are all reported as beyond preemption: by their totals, which are all that the kube-scheduler knows, they
    have room without any victim, so it would find none (but see `keep_nomination`). Nodes whose totals don't suffice
    never get here; `scheduler.preemption` chooses their victims.
    """
    fit = fits.of(pod, names)
    result = wire.FilterResult(NodeNames=fit.fitting)
    if fit.failing:
        result["FailedAndUnresolvableNodes"] = fit.failing
    return result


def spare_waiting(
    ledger: CapacityLedger,
    rules: Rules,
    waiting: Nominations,
    found: wire.FilterResult,
    pod: Mapping[str, Any],
    request: PodRequest,
) -> None:
    """Take out nodes whose room is kept for a pod of at least this pod's priority for which it was made there."""
    uid, priority = pod["metadata"]["uid"], api_objects.priority(pod)
    namespace = pod["metadata"].get("namespace", "default")
    names = found.get("NodeNames") or []
    for name in waiting.nodes() & set(names):
        ahead = waiting.ahead_of(uid, priority, name)
        kept = nominations.reserved(ledger, rules, name, ahead)
        node = ledger.node(name)
        if kept and node is not None and placement.reason(nominations.with_reserved(node, kept), request, rules):
            names.remove(name)
            failing = found.setdefault("FailedAndUnresolvableNodes", {})
            first = api_objects.shown_to(namespace, ahead[0].pod, ahead[0].uid)
            failing[name] = f"its room is kept for pod {first}, for which it was made"


def keep_nomination(found: wire.FilterResult, nominated: str) -> None:
    """If the pod's node is among those that fail it, report it as one that may take it once others have left.

    Otherwise the kube-scheduler takes the nomination back as soon as the first of several victims has left, if the
    node's totals suffice by then: others would be given the room that was made so far, and more pods evicted.
    """
    reason = found.get("FailedAndUnresolvableNodes", {}).pop(nominated, None)
    if reason is not None:
        found["FailedNodes"] = {nominated: reason}


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
    the nodes differ. What all nodes have in common is taken off, and nodes without a point are left out: for the
    kube-scheduler that is the same, and it takes longer to read an answer than to give it.
    """
    if policy is not PlacementPolicy.SPREAD and fits is not None and pod is not None:
        grades = fits.grades(pod, names)
        if grades is not None:
            return _by_grade(names, grades)
    fullness = ledger.fullness(names)
    low, high = min(fullness, default=0), max(fullness, default=0)
    if low == high:
        return []
    span = high - low
    if policy is PlacementPolicy.SPREAD:
        points = {full: (high - full) * wire.MOST_SCORE // span for full in set(fullness)}
    else:
        points = {full: (full - low) * wire.MOST_SCORE // span for full in set(fullness)}
    return _with_points(names, fullness, points)


def _by_grade(names: Sequence[str], grades: Sequence[int]) -> list[wire.HostPriority]:
    """Return a point less for each grade that is worse than the best, so that the best nodes stand out."""
    best = heapq.nsmallest(wire.MOST_SCORE + 1, set(grades))
    return _with_points(names, grades, {grade: len(best) - 1 - rank for rank, grade in enumerate(best)})


def _with_points(names: Sequence[str], keys: Sequence[int], points: Mapping[int, int]) -> list[wire.HostPriority]:
    having = {key: point for key, point in points.items() if point > 0}
    if not having:
        return []
    return [{"Host": name, "Score": having[key]} for name, key in zip(names, keys, strict=True) if key in having]
