"""What the event says on a pod whose nodes have enough in total, and no GPU with room for it. Pure."""

from collections.abc import Iterator, Sequence

from unigpu import remedies
from unigpu.requests import PodRequest
from unigpu.survey import Survey


def message(pod: PodRequest, seen: Survey, closest: str, why: str, largest: int, helps: Sequence[str]) -> str:
    """Return why no GPU takes the pod, and what would help, in the words of `kubectl unigpu explain`.

    `seen` are the nodes whose totals have room, `closest` is one of them, and `why` its reason; `largest` is what the
    largest GPU of the whole cluster has, in MiB.
    """
    if seen.nodes == 1:
        head = f"The totals of node {closest} have room for the pod, and its GPUs don't"
    else:
        head = f"The totals of {seen.nodes} nodes have room for the pod, and their GPUs don't"
        why = f"on node {closest}, {why}"
    return " ".join([f"{head}, so nobody is evicted there: {why}.", *_free(pod, seen, largest), *_helps(helps)])


def _helps(helps: Sequence[str]) -> Sequence[str]:
    return helps or [remedies.NOTHING]


def _free(pod: PodRequest, seen: Survey, largest: int) -> Iterator[str]:
    """Yield what is free, of the kinds that the pod asks for."""
    requests = pod.containers.values()
    asked = max(request.memory for request in requests)
    most = []
    if asked > largest:
        yield f"No GPU of this cluster is large enough: the largest has {largest} MiB."
    elif asked or any(request.memory_percent for request in requests):
        most.append(f"{seen.memory.amount} MiB ({seen.memory.gpu})" if seen.memory.amount else "no memory")
    if any(request.cores and not request.whole for request in requests):
        cores = seen.cores
        most.append(f"{cores.amount} % of compute time ({cores.gpu})" if cores.amount else "no compute time")
    if most:
        yield f"The most that is free on one GPU: {', '.join(most)}."
    if any(request.whole for request in requests):
        empty = seen.empty
        yield f"Node {empty.node} has the most empty GPUs: {empty.amount}." if empty.amount else "No GPU is empty."
