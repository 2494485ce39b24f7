"""Why pods with GPUs don't run yet, from their own conditions and container states. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cli import gpu_fields
from cli.status.view import PendingPod
from unigpu import documents, errors, fit, names, requests

STARTING = "Starting"
"""Reason of a pod that has its GPUs and whose containers are being created."""


def pending(pods: Iterable[Mapping[str, Any]]) -> tuple[PendingPod, ...]:
    """Return the pods that ask for GPUs and don't run yet, by namespace and name. What isn't a pod is left out."""
    found = []
    for pod in pods:
        try:
            one = pending_pod(pod)
        except documents.INVALID:
            continue
        if one is not None:
            found.append(one)
    return tuple(sorted(found, key=lambda one: (one.namespace, one.name)))


def pending_pod(pod: Mapping[str, Any]) -> PendingPod | None:
    """Return why a pod doesn't run yet; None if it asks for no GPU, or has started."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    asks = asked(pod)
    if not asks or status.get("phase") not in ("Pending", None):
        return None
    reason, message = why(pod)
    return PendingPod(
        str(metadata.get("namespace") or ""),
        metadata["name"],
        str(metadata.get("creationTimestamp") or ""),
        asks,
        reason,
        message,
    )


def asked(pod: Mapping[str, Any]) -> str:
    """Return what the pod's containers ask for, in words; empty if they ask for no GPU."""
    annotations = pod["metadata"].get("annotations") or {}
    text = annotations.get(names.ANNOTATION_REQUEST)
    if text is not None:
        try:
            containers = requests.load(text).containers
        except errors.Malformed as error:
            return str(error)
        words = (fit.describe(one) for one in containers.values())
        return "; ".join(one.removesuffix(" free").replace(" free on each", " on each") for one in words)
    return ", ".join(f"{name}: {value}" for name, value in gpu_fields.fields(pod).items())


def why(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return the reason in one word and the whole message, of the step at which the pod stands."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    if not spec.get("nodeName"):
        return _unscheduled(conditions.get("PodScheduled"), pod)
    for state in _waiting(status):
        reason = str(state.get("reason") or "Waiting")
        if reason not in ("ContainerCreating", "PodInitializing"):
            return reason, str(state.get("message") or "")
    if status.get("reason"):
        return str(status["reason"]), str(status.get("message") or "")
    return STARTING, f"bound to node {spec['nodeName']}, whose kubelet is creating its containers"


def _unscheduled(condition: Mapping[str, Any] | None, pod: Mapping[str, Any]) -> tuple[str, str]:
    annotations, spec = pod["metadata"].get("annotations") or {}, pod.get("spec") or {}
    if condition is not None and condition.get("status") == "False":
        return str(condition.get("reason") or "Unschedulable"), str(condition.get("message") or "")
    scheduler = spec.get("schedulerName") or "default-scheduler"
    if names.ANNOTATION_REQUEST not in annotations:
        return "SkippedWebhook", "unigpu's webhook has never seen the pod: delete it and create it again"
    return "NotScheduled", f"scheduler {scheduler} hasn't looked at the pod: is it running?"


def _waiting(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(group) or ():
            waiting = (one.get("state") or {}).get("waiting")
            if waiting:
                yield waiting
