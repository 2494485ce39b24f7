"""The ways to give a pod's containers GPUs of one node, and what each takes of every GPU. Pure."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from unigpu import allocations, fit
from unigpu.allocations import GpuUsage
from unigpu.fit import GpuState, Node
from unigpu.requests import PodRequest, Role
from unigpu.units import GpuUuid

MAX_WAYS = 500
"""Most ways to give the containers GPUs. Beyond, only the GPUs with the fewest pods are tried."""

Way = Mapping[GpuUuid, GpuUsage]
"""What a pod would take of each GPU."""


def ways(pod: PodRequest, empty: Node, shares_per_gpu: int, crowd: Callable[[GpuUuid], int]) -> Iterator[Way]:
    """Yield what the pod would take of each GPU, for each way to give its containers GPUs.

    `empty`: the node when all have given what they can. `crowd` says how many pods have a share of a GPU: those with
    few come first.
    """
    options: dict[str, list[GpuState]] = {}
    for name, request in pod.containers.items():
        states = [
            state for state in empty.gpus if fit.check_fit(state, request, pod.preferences, shares_per_gpu) is None
        ]
        options[name] = sorted(states, key=lambda state: (crowd(state.gpu.uuid), state.gpu.index))
    _limit(options, pod)
    sets = [list(itertools.combinations(options[name], request.gpus)) for name, request in pod.containers.items()]
    seen: set[tuple[tuple[GpuUuid, GpuUsage], ...]] = set()
    for chosen in itertools.product(*sets):
        way = _way(pod, dict(zip(pod.containers, chosen, strict=True)))
        key = tuple(sorted(way.items(), key=lambda entry: entry[0]))
        if key not in seen:
            seen.add(key)
            yield way


def _limit(options: dict[str, list[GpuState]], pod: PodRequest) -> None:
    """Leave out GPUs with the most pods until there are few enough ways."""

    def count() -> int:
        return math.prod(math.comb(len(options[name]), request.gpus) for name, request in pod.containers.items())

    while count() > MAX_WAYS:
        longest = max(options, key=lambda name: len(options[name]) - pod.containers[name].gpus)
        if len(options[longest]) <= pod.containers[longest].gpus:
            return
        options[longest].pop()


def _way(pod: PodRequest, chosen: Mapping[str, Sequence[GpuState]]) -> Way:
    shares: dict[GpuUuid, list[tuple[Role, allocations.Share]]] = {}
    for name, request in pod.containers.items():
        for state in chosen[name]:
            shares.setdefault(state.gpu.uuid, []).append((request.role, fit.share_of(state.gpu, request)))
    return {
        gpu: functools.reduce(GpuUsage.larger, allocations.usage_phases(entries)) for gpu, entries in shares.items()
    }
