"""Decides which container the kubelet is about to start, when all that the kubelet says is a set of slots.

The kubelet knows exactly, in two places: its checkpoint (pods by UID, all containers), which it writes before it starts
any of them, and its pod-resources API (pods by name, without plain init containers). The checkpoint is read first,
because the API's List has a side effect: it drops the devices of pods that it takes to have ended, by a list of pods
that it made before it took its lock. A pod that is admitted in between loses its devices, and its containers never
start (seen with Kubernetes 1.36 on a busy node). List is left for a kubelet whose checkpoint can't be read.

One question stays open: a plain init container and a container that starts after it may hold the same slots, one after
the other. Then the pod's status shows how far it has come.

Checkpoint: https://github.com/kubernetes/kubernetes/tree/master/pkg/kubelet/cm/devicemanager/checkpoint
List: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/apis/podresources/server_v1.go
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deviceplugin import pods
from unigpu import documents, errors, names

SETTLE = 10.0
"""Seconds after which a container that was prepared but, by its status, never ran counts as being prepared again: the
kubelet's status reaches the API server much sooner."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A container that holds slots, as the pod-resources API names it."""

    namespace: str
    pod: str
    container: str
    slots: frozenset[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A container that holds slots, as the checkpoint names it."""

    pod_uid: str
    container: str
    slots: frozenset[str]
    others: frozenset[str] = frozenset()
    """Resources of other device plugins of which it holds devices."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the kubelet's checkpoint says of devices."""

    entries: tuple[Entry, ...] = ()
    registered: frozenset[str] = frozenset()
    """Resources of which the kubelet has, or had until a few minutes ago, a device plugin."""


def read_checkpoint(text: str) -> Checkpoint:
    """Return the holders of slots, and the resources of device plugins, by the kubelet's checkpoint.

    Raises Malformed.
    """
    try:
        data: dict[str, Any] = documents.decode(text)["Data"]
        entries: list[dict[str, Any]] = data["PodDeviceEntries"] or []
        others: dict[tuple[str, str], set[str]] = {}
        for entry in entries:
            if entry["ResourceName"] != names.RESOURCE_VGPU:
                others.setdefault((entry["PodUID"], entry["ContainerName"]), set()).add(entry["ResourceName"])
        found = tuple(
            Entry(
                documents.text(entry["PodUID"]),
                documents.text(entry["ContainerName"]),
                frozenset(documents.text(slot) for slots in entry["DeviceIDs"].values() for slot in slots),
                frozenset(others.get((entry["PodUID"], entry["ContainerName"]), ())),
            )
            for entry in entries
            if entry["ResourceName"] == names.RESOURCE_VGPU
        )
        return Checkpoint(found, frozenset(data.get("RegisteredDevices") or ()))
    except documents.INVALID as error:
        reason = documents.brief(error)
        raise errors.Malformed(f"the kubelet's checkpoint can't be read: {reason}") from error


@dataclass(frozen=True, slots=True)
class Claim:
    """What the kubelet says of a set of slots."""

    pod: tuple[str, str] | None
    """Namespace and name; None: only the checkpoint knows the owner."""
    uid: str | None
    """None: the checkpoint doesn't know the owner yet."""
    containers: frozenset[str]


def claim(slots: frozenset[str], holders: Iterable[Holder], entries: Iterable[Entry]) -> Claim:
    """Return who holds exactly these slots.

    Raises Unavailable where nobody does, or two pods do: the kubelet is between two states, and calls again.
    """
    listed = [holder for holder in holders if holder.slots == slots]
    noted = [entry for entry in entries if entry.slots == slots]
    found = {(holder.namespace, holder.pod) for holder in listed}
    uids = {entry.pod_uid for entry in noted}
    text = ", ".join(sorted(slots))
    if not found and not uids:
        raise errors.Unavailable(f"the kubelet doesn't name the container that holds {text} yet")
    if len(found) > 1 or len(uids) > 1:
        who = sorted("/".join(pod) for pod in found) if len(found) > 1 else sorted(uids)
        raise errors.Unavailable(f"the kubelet names several pods that hold {text}: {', '.join(who)}")
    return Claim(
        pod=next(iter(found), None),
        uid=next(iter(uids), None),
        containers=frozenset({*(holder.container for holder in listed), *(entry.container for entry in noted)}),
    )


def known_time(prepared: float | None, now: float) -> float | None:
    """Return when a container was prepared; None where that lies ahead.

    Then the node's clock was set back since, and times of before and after can't be compared.
    """
    return None if prepared is not None and prepared > now else prepared


def starting(pod: pods.Pod, containers: frozenset[str], prepared: Mapping[str, float], now: float) -> str | None:
    """Return which of the containers, which hold the same slots one after the other, is about to start.

    `prepared` says when each was last prepared (seconds since the epoch; absent: never). None: the pod's status doesn't
    show it yet; read it again. Containers that the pod doesn't have are left out; an empty string: none is left.

    A pod whose sandbox was lost starts again with its init containers: what ended before then doesn't count.
    """
    candidates: Sequence[str] = [name for name in pod.order if name in containers]
    lost = pod.sandbox_lost or 0.0
    for name in candidates[:-1]:
        progress = pod.progress.get(name, pods.Progress())
        since = known_time(prepared.get(name), now)
        if since is not None and since < lost:
            since = None
        # The API's times are whole seconds, rounded down.
        settled = progress.ended_at is not None and progress.ended_at >= math.floor(max(since or 0.0, lost))
        if settled and progress.running_since is None:
            if progress.exit_code == 0:
                continue
            return name
        if since is None:
            return name
        if progress.running_since is not None and progress.running_since >= math.floor(since):
            return None
        return name if now - since > SETTLE else None
    if len(candidates) > 1 and pod.progress.get(candidates[-1], pods.Progress()).running_since is not None:
        # It no longer runs, or one before it starts again: the status is older than that.
        return None
    return candidates[-1] if candidates else ""
