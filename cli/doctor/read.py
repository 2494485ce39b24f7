"""Collect the doctor's evidence from the API server, within the rights that the caller has."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

from cli import failures, gpu_fields, version
from cli.doctor.check import Unread
from cli.doctor.evidence import Evidence, Json, Pods
from cli.status import view
from cli.status.view import NodeObject
from unigpu import errors, names
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.client import Client

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_PAGE = 250
_ALWAYS_EXCLUDED = frozenset({"kube-system"})
"""Namespaces that the chart's webhook leaves out in addition to its own, where its configuration can't be read."""
T = TypeVar("T")


async def evidence(api: Client, namespace: str) -> Evidence:
    """Return what can be read. Raises Unavailable, and Rejected where the caller isn't known."""
    here = f"{objects.NAMESPACES}/{namespace}"
    label = {"labelSelector": version.SELECTOR}
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    service = {"labelSelector": f"kubernetes.io/service-name={names.SERVICE_WEBHOOK}"}
    kind = f"webhookconfigurations/{names.WEBHOOK_CONFIGURATION}"
    server = await attempt(api.get("/version"))
    mutating, validating, secret = await asyncio.gather(
        _find(api, f"{_ADMISSION}/mutating{kind}"),
        _find(api, f"{_ADMISSION}/validating{kind}"),
        _find(api, f"{here}/secrets/{names.SECRET_WEBHOOK_TLS}"),
    )
    lists = await asyncio.gather(
        attempt(api.items(slices, service)),
        attempt(api.items(f"/apis/apps/v1/namespaces/{namespace}/deployments", label)),
        attempt(api.items(f"{here}/pods", label)),
        attempt(api.items(objects.NODES, limit=_PAGE)),
        attempt(api.items("/api/v1/resourcequotas")),
        attempt(api.items("/api/v1/limitranges")),
    )
    nodes = lists[3]
    known: list[Json] = [] if isinstance(nodes, Unread) else nodes
    pods = await attempt(_pods(api, known, excluded(mutating) | {namespace}))
    found = (server, mutating, validating, lists[0], secret, *lists[1:], pods)
    return Evidence(datetime.now(UTC), namespace, *found)


async def attempt(call: Awaitable[T]) -> T | Unread:
    """Return the answer, or why the caller may not have it. Raises what has other causes."""
    try:
        return await call
    except kube_errors.Missing:
        return Unread("the API server doesn't serve it")
    except errors.UnigpuError as error:
        if failures.forbidden(error):
            return Unread(getattr(error, "message", str(error)))
        raise


async def _find(api: Client, path: str) -> Json | Unread | None:
    return await attempt(api.find(path))


async def _pods(api: Client, nodes: list[Json], left_out: frozenset[str] | set[str]) -> Pods:
    """Read all pods page by page, and keep no more of them than is needed."""
    skipped: list[tuple[str, str]] = []
    metadata: list[Any] = []
    async for page in api.pages(objects.PODS, {"fieldSelector": objects.RUNNING}, limit=_PAGE):
        for pod in page.items:
            about = objects.ref(pod)
            annotations = (pod.get("metadata") or {}).get("annotations") or {}
            if names.ANNOTATION_ALLOCATION in annotations:
                metadata.append(pod["metadata"])
            if names.ANNOTATION_REQUEST not in annotations and about.namespace not in left_out:
                fields = gpu_fields.fields(pod)
                if fields:
                    skipped.append((about.title, ", ".join(fields)))
    return Pods(skipped, view.view([NodeObject(node["metadata"]) for node in nodes], metadata))


def excluded(mutating: Json | Unread | None) -> set[str]:
    """Return the namespaces that the webhook's configuration leaves out."""
    if mutating is None or isinstance(mutating, Unread):
        return set(_ALWAYS_EXCLUDED)
    return {
        value
        for hook in mutating.get("webhooks") or ()
        for one in (hook.get("namespaceSelector") or {}).get("matchExpressions") or ()
        if one.get("key") == "kubernetes.io/metadata.name" and one.get("operator") == "NotIn"
        for value in one.get("values") or ()
    }
