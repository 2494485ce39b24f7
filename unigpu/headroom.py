"""What the nodes of a cluster have left, in a form that answers "which of them take this pod?" for thousands at once.

Nodes whose GPUs are alike form a group. What a pod asks of a group is worked out once, and each of its nodes then costs
a comparison of two numbers, which are kept in columns because that is several times as quick as to look into each node.
Placement remains the one decision: every answer here is what `placement.reason` gives for the node, or the node is left
to it. Tests compare the two.
"""

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from unigpu import fit, modes, placement
from unigpu.fit import Node, UnfitReason
from unigpu.gpus import Gpu
from unigpu.modes import NodeMode
from unigpu.requests import PodRequest, Preferences, Request
from unigpu.units import GpuUuid, MiB

Reasons = int
"""A set of UnfitReasons, a bit for each."""
_BITS = {reason: 1 << number for number, reason in enumerate(UnfitReason)}
_MEMORY, _CORES, _SHARES = _BITS[UnfitReason.MEMORY], _BITS[UnfitReason.CORES], _BITS[UnfitReason.SHARES]
_WHOLE, _OCCUPIED = _BITS[UnfitReason.WHOLE], _BITS[UnfitReason.OCCUPIED]
_NOTHING_FREE = (-1, -1, 0)


@dataclass(frozen=True, slots=True)
class Group:
    """What the nodes of a group have in common."""

    mode: NodeMode
    count: int
    """GPUs of each node."""
    model: str | None
    """Model of all GPUs; None: they differ in model or memory."""
    memory: MiB
    """Memory of each GPU; 0 if they differ."""


@dataclass(frozen=True, slots=True)
class Room:
    """What one node has left."""

    free: tuple[tuple[int, int, int], ...]
    """Element k: MiB, percent and shares that k + 1 of the GPUs surely have free; padded to all GPUs."""
    gpus: tuple[tuple[int, int, int], ...]
    """Free MiB, free percent and free shares of each GPU that takes something new, the largest memory first."""
    empty: int
    """GPUs that a container can have whole."""
    closed: Reasons
    """Why GPUs of the node take nothing at all: unhealthy or cordoned."""
    busy: Reasons
    """Why a container can't have other GPUs whole: allocated whole, or in use."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a pod asks of the nodes of a group."""

    gpus: int
    memory: int
    """MiB on each GPU."""
    cores: int
    shares: int
    whole: bool
    exact: bool
    """Whether a node that doesn't have it can't take the pod. False: `placement.reason` decides there."""


@dataclass(frozen=True, slots=True)
class Never:
    """No node of the group takes the pod."""

    why: UnfitReason | None = None
    """Of every GPU that takes something new."""
    text: str = ""
    """For nodes of this mode, whatever their GPUs."""


Asked = Question | Never | None
"""None: `placement.reason` decides for each node."""


class Members:
    """The nodes of a group, each at the same position of every column."""

    def __init__(self, group: Group) -> None:
        self.names: list[str] = []
        self.rooms: list[Room] = []
        self.empty: list[int] = []
        self.memory: list[list[int]] = [[] for _ in range(group.count)]
        """Column k: the MiB of `Room.free[k]`."""
        self.cores: list[list[int]] = [[] for _ in range(group.count)]
        """Column k: the percent of `Room.free[k]`."""
        self.shares: list[int] = []
        """The shares of `Room.free[0]`."""
        self.closed: set[str] = set()
        """Nodes of which a GPU takes nothing at all."""
        self.group = group
        self._places: dict[str, int] = {}

    def room(self, name: str) -> Room:
        """Return the room of a node of this group."""
        return self.rooms[self._places[name]]

    def put(self, name: str, room: Room) -> None:
        """Add a node, or take over its new room."""
        if room.closed:
            self.closed.add(name)
        else:
            self.closed.discard(name)
        place = self._places.get(name)
        if place is None:
            self._places[name] = len(self.names)
            self.names.append(name)
            self.rooms.append(room)
            self.empty.append(room.empty)
            self.shares.append(room.free[0][2])
            for number, (memory, cores, _) in enumerate(room.free):
                self.memory[number].append(memory)
                self.cores[number].append(cores)
            return
        self.rooms[place], self.empty[place], self.shares[place] = room, room.empty, room.free[0][2]
        for number, (memory, cores, _) in enumerate(room.free):
            self.memory[number][place], self.cores[number][place] = memory, cores

    def remove(self, name: str) -> None:
        """Remove a node. The last one moves to its position."""
        place = self._places.pop(name)
        self.closed.discard(name)
        columns: list[list[Any]] = [self.names, self.rooms, self.empty, self.shares, *self.memory, *self.cores]
        for column in columns:
            last = column.pop()
            if place < len(column):
                column[place] = last
        if place < len(self.names):
            self._places[self.names[place]] = place


@dataclass(slots=True)
class Headroom:
    """The nodes' rooms, by group."""

    shares_per_gpu: int
    groups: dict[Group, Members] = field(default_factory=dict)
    _group_of: dict[str, Members] = field(default_factory=dict)
    _owners: dict[GpuUuid, set[str]] = field(default_factory=dict)

    def update(self, name: str, node: Node | None) -> None:
        """Take over what a node has left now; None, or a node without GPUs: it is gone."""
        former = self._group_of.get(name)
        if node is None or not node.gpus:
            self._remove(name, former)
            return
        group = group_of(node)
        if former is None or group != former.group:
            self._remove(name, former)
            if group not in self.groups:
                self.groups[group] = Members(group)
            self._group_of[name] = self.groups[group]
        self._group_of[name].put(name, room_of(node, self.shares_per_gpu))
        for state in node.gpus:
            owners = self._owners.get(state.gpu.uuid)
            if owners is None:
                self._owners[state.gpu.uuid] = {name}
            elif name not in owners:
                owners.add(name)

    def of(self, name: str) -> Members | None:
        """Return the group that a node belongs to; None if it has no GPUs."""
        return self._group_of.get(name)

    def owners(self, uuids: Collection[str]) -> set[str]:
        """Return the nodes that have, or once had, one of these GPUs."""
        found: set[str] = set()
        for uuid in uuids:
            found |= self._owners.get(GpuUuid(uuid), set())
        return found

    def _remove(self, name: str, members: Members | None) -> None:
        if members is not None:
            members.remove(name)
            if not members.names:
                del self.groups[members.group]
            del self._group_of[name]


def group_of(node: Node) -> Group:
    """Return the group that a node with GPUs belongs to."""
    first = node.gpus[0].gpu
    alike = all(state.gpu.model == first.model and state.gpu.memory == first.memory for state in node.gpus)
    return Group(node.mode, len(node.gpus), first.model if alike else None, first.memory if alike else MiB(0))


def room_of(node: Node, shares_per_gpu: int) -> Room:
    """Return what a node has left."""
    gpus: list[tuple[int, int, int]] = []
    closed = busy = empty = 0
    for state in node.gpus:
        gpu, taken = state.gpu, state.taken
        if not gpu.healthy:
            closed |= _BITS[UnfitReason.UNHEALTHY]
        elif state.cordoned:
            closed |= _BITS[UnfitReason.CORDONED]
        elif taken.whole:
            busy |= _WHOLE
        else:
            if taken.shares or taken.memory:
                busy |= _OCCUPIED
            else:
                empty += 1
            gpus.append((gpu.memory - taken.memory, fit.FULL - taken.cores, shares_per_gpu - taken.shares))
    gpus.sort(reverse=True)
    free: list[tuple[int, int, int]] = []
    least_cores, least_shares = fit.FULL, shares_per_gpu
    for memory, cores, shares in gpus:
        if shares > 0:
            least_cores, least_shares = min(least_cores, cores), min(least_shares, shares)
            free.append((memory, least_cores, least_shares))
    free += [_NOTHING_FREE] * (len(node.gpus) - len(free))
    return Room(tuple(free), tuple(gpus), empty, closed, busy)


def question(pod: PodRequest, group: Group) -> Asked:
    """Return what a pod asks of the nodes of a group that have none of the GPUs that it names by UUID."""
    requests = tuple(pod.containers.values())
    if len(requests) > 1:
        return _sum(requests, pod.preferences, group)
    (request,) = requests
    refusal = modes.refusal(group.mode, request)
    if refusal is not None:
        return Never(text=refusal)
    if group.count < request.gpus:
        return None
    if pod.preferences.selective:
        if group.model is None:
            return None
        # GPUs of this model that the pod doesn't name.
        stranger = Gpu(GpuUuid(""), 0, 0, group.model, group.memory)
        unwanted = fit.check_fit(fit.GpuState(stranger), _ANY, pod.preferences, 1)
        if unwanted is not None:
            return Never(unwanted)
    if group.model is not None and request.memory > group.memory:
        return Never(UnfitReason.SMALL)
    memory = request.memory
    if request.memory_percent:
        if group.model is None:
            return None
        memory = MiB(group.memory * request.memory_percent // 100)
    return Question(request.gpus, memory, request.cores, 1, request.whole, exact=True)


_ANY = Request(gpus=1)


def _sum(requests: tuple[Request, ...], preferences: Preferences, group: Group) -> Asked:
    """Return the question whether one GPU takes all containers of a pod at the same time.

    If it does, placement always finds room: at every step of its search that GPU is left.
    """
    if preferences.selective or group.mode in modes.WHOLE_GPUS_ONLY:
        return None
    if any(request.gpus > 1 or request.whole or request.memory_percent for request in requests):
        return None
    memory = sum(request.memory for request in requests)
    cores = sum(request.cores for request in requests)
    return Question(1, memory, cores, len(requests), whole=False, exact=False)


def taking(members: Members, asked: Question) -> list[str]:
    """Return the nodes of a group that have what is asked."""
    if asked.whole:
        return [name for name, empty in zip(members.names, members.empty, strict=True) if empty >= asked.gpus]
    memory, cores, shares = asked.memory, asked.cores, asked.shares
    free = (members.memory[asked.gpus - 1], members.cores[asked.gpus - 1])
    if shares == 1:
        surely = [m >= memory and c >= cores for m, c in zip(*free, strict=True)]
    else:
        surely = [m >= memory and c >= cores and s >= shares for m, c, s in zip(*free, members.shares, strict=True)]
    found = list(itertools.compress(members.names, surely))
    if len(found) < len(surely):
        # The GPUs with the most memory may be short of something else, and others of the node not.
        found += [
            members.names[place]
            for place, (sure, free_memory) in enumerate(zip(surely, free[0], strict=True))
            if not sure and free_memory >= memory and has(members.rooms[place], asked)
        ]
    return found


def has(room: Room, asked: Question) -> bool:
    """Return whether a node has what is asked."""
    if asked.whole:
        return room.empty >= asked.gpus
    memory, cores, shares, missing = asked.memory, asked.cores, asked.shares, asked.gpus
    for free_memory, free_cores, free_shares in room.gpus:
        if free_memory < memory:
            return False
        if free_cores >= cores and free_shares >= shares:
            missing -= 1
            if not missing:
                return True
    return False


OPENS = 10_000
"""Grade from which on a node would have to open an empty GPU."""


def grade(group: Group, room: Room, asked: Asked, shares_per_gpu: int) -> int | None:
    """Return how well a share would fit on a node, by the GPU that placement takes with binpack; lower is better.

    It is what the share leaves (see `fit.leftover`), OPENS where only empty GPUs take it. None: there is no grade for
    such pods, or nodes of this group, or the node doesn't take it.
    """
    if not isinstance(asked, Question) or asked.whole or not asked.exact or not group.memory:
        return None
    total, memory, cores = group.memory, asked.memory, asked.cores
    grades = []
    for free_memory, free_cores, free_shares in room.gpus:
        if free_memory < memory:
            break
        if free_cores >= cores and free_shares > 0:
            if free_shares == shares_per_gpu:
                grades.append(OPENS)
            else:
                grades.append(fit.leftover(total, memory, cores, total - free_memory, fit.FULL - free_cores))
    if len(grades) < asked.gpus:
        return None
    return min(grades) if asked.gpus == 1 else sorted(grades)[asked.gpus - 1]


def why_not(room: Room, asked: Question | Never) -> Reasons:
    """Return why GPUs of a node don't take what is asked, for a node whose GPUs are alike and that doesn't have it."""
    if isinstance(asked, Never):
        # Of GPUs that are allocated whole, too: model, UUID and size are checked first.
        open_ = room.gpus or room.busy
        return room.closed | _BITS[asked.why] if asked.why is not None and open_ else room.closed
    if asked.whole:
        return room.closed | room.busy
    found = room.closed | room.busy & _WHOLE
    memory, cores, shares = asked.memory, asked.cores, asked.shares
    for free_memory, free_cores, free_shares in room.gpus:
        if free_memory < memory:
            return found | _MEMORY
        if free_cores < cores:
            found |= _CORES
        elif free_shares < shares:
            found |= _SHARES
    return found


def never_briefs(members: Members, pod: PodRequest, asked: Never) -> dict[str, str]:
    """Return the brief reasons of the nodes of a group that takes no such pod.

    Nodes with unhealthy or cordoned GPUs are left out: `why_not` tells their reasons apart.
    """
    if asked.why is None:
        return dict.fromkeys(members.names, asked.text)
    found = dict.fromkeys(members.names, brief(pod, _BITS[asked.why]))
    for name in members.closed:
        del found[name]
    return found


def brief(pod: PodRequest, reasons: Reasons) -> str:
    """Return the brief reason for a pod with one container, as `placement.reason` words it."""
    ((name, request),) = pod.containers.items()
    return placement.brief(name, request, [reason for reason, bit in _BITS.items() if reasons & bit])
