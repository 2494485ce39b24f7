"""What counts when a pod might be evicted to make room for another."""

import datetime
import enum
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unigpu import pod_resources, remembered

Json = Mapping[str, Any]
Pairs = tuple[tuple[str, Any], ...]


class Tie(enum.Flag):
    """Why, besides resources, another pod may fit only once this one is gone."""

    NONE = 0
    ANTI_AFFINITY = enum.auto()
    """It keeps others off its node."""
    PORTS = enum.auto()
    """It takes ports of its node."""
    CLAIMS = enum.auto()
    """It has volumes of claims, of which a node attaches only so many."""


@dataclass(frozen=True, slots=True)
class Evictee:
    """A pod on a node."""

    started: float = math.inf
    """Seconds since the epoch; infinity: not yet."""
    leaving: bool = False
    """It is being deleted, so evicting it costs nothing."""
    preempted: bool = False
    """It is being deleted because the kube-scheduler evicted it for another pod."""
    ties: Tie = Tie.NONE
    label_pairs: Pairs = ()
    amount_pairs: Pairs = ()

    @property
    def labels(self) -> dict[str, str]:
        """The pod's labels."""
        return dict(self.label_pairs)

    @property
    def amounts(self) -> dict[str, int]:
        """What it takes of its node's totals, as in `pod_resources`."""
        return dict(self.amount_pairs)


def evictee(document: Json) -> Evictee:
    """Return what counts of a pod. Raises an error of `documents.INVALID` for what isn't one."""
    metadata, spec = document["metadata"], document["spec"]
    status = document.get("status") or {}
    started = status.get("startTime")
    leaving = bool(metadata.get("deletionTimestamp"))
    return Evictee(
        started=datetime.datetime.fromisoformat(started).timestamp() if started else math.inf,
        leaving=leaving,
        preempted=leaving and any(map(_by_preemption, status.get("conditions") or ())),
        ties=ties(spec),
        label_pairs=_shared(tuple(sorted((metadata.get("labels") or {}).items()))),
        amount_pairs=_shared(tuple(sorted(pod_resources.of_pod(spec).items()))),
    )


def ties(spec: Json) -> Tie:
    """Return what ties a pod with this spec to its node, beside resources."""
    found = Tie.NONE
    if _required(spec, "podAntiAffinity"):
        found |= Tie.ANTI_AFFINITY
    if any(port.get("hostPort") for container in _containers(spec) for port in container.get("ports") or ()):
        found |= Tie.PORTS
    if any("persistentVolumeClaim" in volume or "ephemeral" in volume for volume in spec.get("volumes") or ()):
        found |= Tie.CLAIMS
    return found


def depends_on_neighbours(spec: Json) -> bool:
    """Return whether which pods are on a node decides, beside resources, whether a pod with this spec may go there."""
    return bool(
        _required(spec, "podAffinity")
        or _required(spec, "podAntiAffinity")
        or spec.get("resourceClaims")
        or any(one.get("whenUnsatisfiable") == "DoNotSchedule" for one in spec.get("topologySpreadConstraints") or ())
    )


def _by_preemption(condition: Json) -> bool:
    """Return whether a pod's condition says so; as `podTerminatingByPreemption` of the kube-scheduler reads it."""
    told = condition.get("type"), condition.get("status"), condition.get("reason")
    return told == ("DisruptionTarget", "True", "PreemptionByScheduler")


def _required(spec: Json, kind: str) -> bool:
    affinity = (spec.get("affinity") or {}).get(kind) or {}
    return bool(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))


def _containers(spec: Json) -> Iterator[Json]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _shared(pairs: Pairs) -> Pairs:
    """Return the same tuple for equal ones: a workload's pods have nearly the same labels and the same resources.

    Many labels aren't kept: who gives each new pod others wants to fill memory.
    """
    return _kept(pairs) if sum(len(name) + len(str(value)) for name, value in pairs) <= remembered.LONGEST else pairs


@functools.lru_cache(maxsize=16384)
def _kept(pairs: Pairs) -> Pairs:
    return pairs
