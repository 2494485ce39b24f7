"""The GPUs that the scheduler chose for a pod, and the annotation that carries them (`unigpu.dev/allocation`)."""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unigpu import documents, errors
from unigpu.documents import flag, whole
from unigpu.requests import Role
from unigpu.units import FULL, MAX_MEMORY, GpuUuid, MiB, Percent

VERSION = 1


@dataclass(frozen=True, slots=True)
class Share:
    """One container's part of one GPU."""

    gpu: GpuUuid
    memory: MiB
    """MiB, with percentages resolved; all of the GPU's memory if `whole`; 0 if memory isn't limited."""
    cores: Percent
    """Percent of compute time; 100 if `whole`; 0 if compute isn't limited."""
    whole: bool = False
    """Whether no other pod may use the GPU."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A pod's GPUs on the node that it is bound to."""

    node: str
    containers: Mapping[str, Sequence[Share]]
    """Shares by container name. Containers are in the order in which they start (init containers first, as in the pod's
    spec), shares in the order in which the container sees the GPUs."""


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """How much of one GPU is taken."""

    memory: MiB = MiB(0)
    cores: int = 0
    shares: int = 0
    whole: bool = False

    def plus(self, other: "GpuUsage") -> "GpuUsage":
        """Return the usage of both at the same time: the sum."""
        return GpuUsage(
            MiB(self.memory + other.memory),
            self.cores + other.cores,
            self.shares + other.shares,
            self.whole or other.whole,
        )

    def larger(self, other: "GpuUsage") -> "GpuUsage":
        """Return the usage of one after the other: the larger of each amount."""
        return GpuUsage(
            MiB(max(self.memory, other.memory)),
            max(self.cores, other.cores),
            max(self.shares, other.shares),
            self.whole or other.whole,
        )


def usage_phases(shares: Iterable[tuple[Role, Share]]) -> Iterator[GpuUsage]:
    """Yield what one pod's shares of one GPU take while each init container runs, and last while the others run.

    `shares` are in the order in which the containers start, because a sidecar runs along with every init container that
    starts after it.
    """
    sidecars = GpuUsage()
    running = GpuUsage()
    for role, share in shares:
        use = _usage(share)
        if role is Role.INIT:
            yield sidecars.plus(use)
            continue
        running = running.plus(use)
        if role is Role.SIDECAR:
            sidecars = sidecars.plus(use)
    yield running


def pod_usage(allocation: Allocation, roles: Mapping[str, Role]) -> dict[GpuUuid, GpuUsage]:
    """Return what the pod takes of each GPU: the larger of its init containers' peak and the sum of the others.

    Containers that `roles` doesn't name count as main containers.
    """
    if len(allocation.containers) == 1:  # most pods: whenever their container runs, it takes the same
        (only,) = allocation.containers.values()
        taken = {share.gpu: _usage(share) for share in only}
        if len(taken) == len(only):
            return taken
    gpus: dict[GpuUuid, list[tuple[Role, Share]]] = {}
    for name, shares in allocation.containers.items():
        for share in shares:
            gpus.setdefault(share.gpu, []).append((roles.get(name, Role.MAIN), share))
    return {gpu: _peak(shares) for gpu, shares in gpus.items()}


def _peak(shares: Sequence[tuple[Role, Share]]) -> GpuUsage:
    if len(shares) == 1:  # nearly every pod; whenever its container runs, it takes the same
        return _usage(shares[0][1])
    return functools.reduce(GpuUsage.larger, usage_phases(shares))


def _usage(share: Share) -> GpuUsage:
    return GpuUsage(share.memory, share.cores, 1, share.whole)


def dump(allocation: Allocation) -> str:
    """Return the annotation's text."""
    document: dict[str, Any] = {
        "version": VERSION,
        "node": allocation.node,
        "containers": {
            name: [
                {"gpu": share.gpu, "memory": share.memory, "cores": share.cores}
                | ({"whole": True} if share.whole else {})
                for share in shares
            ]
            for name, shares in allocation.containers.items()
        },
    }
    return json.dumps(document, separators=(",", ":"))


def load(text: str) -> Allocation:
    """Return the allocation that `dump` wrote.

    Raises Malformed.
    """
    from unigpu import quick_forms  # not at the top: it imports this module

    allocation = quick_forms.allocation(text) or _slowly(text)
    for name, shares in allocation.containers.items():
        if len(shares) > 1 and len({share.gpu for share in shares}) < len(shares):
            twice = Counter(share.gpu for share in shares).most_common(1)[0][0]
            raise errors.Malformed(f"allocation annotation gives container {name} the GPU {twice} twice")
    return allocation


def _slowly(text: str) -> Allocation:
    """Look at each field by itself, and say what is wrong with it."""
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"allocation annotation has version {document['version']}, not {VERSION}")
        return Allocation(
            node=documents.text(document["node"]),
            containers={
                name: tuple(
                    Share(
                        GpuUuid(documents.text(item["gpu"])),
                        MiB(whole(item["memory"], MAX_MEMORY)),
                        Percent(whole(item["cores"], FULL)),
                        flag(item.get("whole", False)),
                    )
                    for item in shares
                )
                for name, shares in document["containers"].items()
            },
        )
    except documents.INVALID as error:
        reason = documents.brief(error)
        raise errors.Malformed(f"allocation annotation can't be read: {reason}") from error
