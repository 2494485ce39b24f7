"""What unigpu does with single pods and nodes: bind, annotate, nominate and evict.

Sources: the Kubernetes API reference for Binding, Pod and Node. A pod's annotations can be changed by way of its
status, which needs less than the right to change pods.
"""

from collections.abc import Mapping
from typing import Any

from unigpu_kube import objects
from unigpu_kube.client import Client, Json


async def bind(
    client: Client, pod: objects.Ref, node: str, annotations: Mapping[str, str], *, within: float | None = None
) -> None:
    """Bind the pod with that UID to the node and set annotations of it, in one write.

    `within`: seconds after which sending it is given up; None: the usual deadline. Raises Conflict where the pod is
    bound already, is being deleted, or has another UID; Missing, Rejected, Unavailable.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
            "annotations": dict(annotations),
        },
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    await client.create(f"{objects.pod(pod.namespace, pod.name)}/binding", body, within=within)


async def annotate(client: Client, pod: Mapping[str, Any], annotations: Mapping[str, str | None]) -> Json:
    """Set or remove (None) annotations of a pod that hasn't changed since it was read; return the pod.

    Raises Conflict where it has changed; Missing, Rejected, Unavailable.
    """
    about = pod["metadata"]
    metadata = {"resourceVersion": about["resourceVersion"], "annotations": dict(annotations)}
    return await client.patch(objects.pod(about["namespace"], about["name"]), {"metadata": metadata})


async def annotate_by_status(
    client: Client, pod: objects.Ref, annotations: Mapping[str, str | None], version: str = ""
) -> Json:
    """Set or remove (None) annotations of the pod with that UID, whatever else has changed; return the pod.

    With a `version`, the pod mustn't have changed since. Raises Conflict where it has, or where the pod of that name is
    another one; Missing, Rejected, Unavailable.
    """
    metadata: dict[str, object] = {"uid": pod.uid, "annotations": dict(annotations)}
    if version:
        metadata["resourceVersion"] = version
    return await client.patch(f"{objects.pod(pod.namespace, pod.name)}/status", {"metadata": metadata})


async def nominate(client: Client, pod: objects.Ref, node: str | None, version: str) -> Json:
    """Say on which node a pod that hasn't changed since that version is going to be; None: nobody knows.

    Raises Conflict where it has changed, or where the pod of that name is another one; Missing, Rejected, Unavailable.
    """
    metadata = {"uid": pod.uid, "resourceVersion": version}
    body = {"metadata": metadata, "status": {"nominatedNodeName": node}}
    return await client.patch(f"{objects.pod(pod.namespace, pod.name)}/status", body)


async def evict(client: Client, pod: objects.Ref, grace: int | None = None) -> None:
    """Ask for the end of the pod with that UID, by the Eviction API, which honours disruption budgets.

    `grace`: seconds until its containers are killed; None: as the pod says. Raises ServerError with status 429 where a
    budget allows no eviction now; Missing, Conflict where the pod is gone or another one; Rejected, Unavailable.
    """
    options: dict[str, object] = {"preconditions": {"uid": pod.uid}}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": options,
    }
    await client.create(f"{objects.pod(pod.namespace, pod.name)}/eviction", body)
