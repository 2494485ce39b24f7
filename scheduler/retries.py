"""Has the kube-scheduler try a pod again that waits, once there is room for it.

Where a node grows, the kube-scheduler tries only pods again that fit the node with all their resources, also those that
its configuration tells it to leave out (`isFit` in noderesources/fit.go of Kubernetes 1.36.3). A pod that keeps its
vendor's resources never does. One event makes it try every pod that lacked a resource: a pod that was nominated to a
node no longer is (`hasNominatedNodeNameChanged` in eventhandlers.go), because that may leave room to others, or to
itself. So the waiting pod is nominated to the node on which room is made for it, which also shows people where it is
going to be; once the room is there, the nomination is taken back, and the pod is tried again. `unigpu.shrinks` knows
which kube-schedulers have this event.
"""

from collections.abc import Collection, Mapping
from typing import Any

from unigpu_kube import errors as kube_errors
from unigpu_kube import objects, pods
from unigpu_kube.client import Client
from unigpu_kube.objects import Ref

_TRIES = 3


async def nominate(api: Client, pod: Ref, node: str) -> bool:
    """Nominate a waiting pod to a node; return False where it waits no longer.

    Raises Unavailable, Rejected, Conflict.
    """
    return await _change(api, pod, node) is not None


async def try_again(api: Client, pod: Ref, node: str) -> bool:
    """Take the pod's nomination to the node back, so that it is tried again; return False where it waits no longer.

    A nomination that the kube-scheduler has taken back before, after an attempt without room, is written once more. One
    to another node is left alone, and False is returned: others were evicted there for the pod. Raises Unavailable,
    Rejected, Conflict.
    """
    return await _change(api, pod, node, (node, None)) is not None and await take_back(api, pod, node)


async def try_now(api: Client, pod: Ref, node: str) -> bool:
    """Have a pod tried again at once, and all of no higher priority with it; return False where it waits no longer.

    One that is nominated already waits for others to leave, and is left alone. Raises as above; the nomination may have
    been written then.
    """
    return await _change(api, pod, node, (None,)) is not None and await take_back(api, pod, node)


async def take_back(api: Client, pod: Ref, node: str) -> bool:
    """End the pod's nomination to the node, if it is there; return False where it waits no longer, or for another node.

    Raises as above.
    """
    return await _change(api, pod, None, (node, None)) is not None


async def _change(
    api: Client, pod: Ref, node: str | None, instead_of: Collection[str | None] | None = None
) -> Mapping[str, Any] | None:
    """Write the nomination of a pod that waits, and return the pod; None where it waits no longer.

    None as well where the present nomination is none of `instead_of`: somebody else's, then.
    """
    for left in reversed(range(_TRIES)):
        found = await api.find(objects.pod(pod.namespace, pod.name))
        if found is None or found["metadata"]["uid"] != pod.uid or found["metadata"].get("deletionTimestamp"):
            return None
        if found["spec"].get("nodeName"):
            return None
        present = (found.get("status") or {}).get("nominatedNodeName") or None
        if instead_of is not None and present not in instead_of:
            return None
        if present == node:
            return found
        try:
            return await pods.nominate(api, pod, node, found["metadata"]["resourceVersion"])
        except kube_errors.Conflict:
            if not left:
                raise
        except kube_errors.Missing:
            return None
    return None
