"""Collect what a move to unigpu has to know from the API server, within the rights that the caller has."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from cli.doctor import moving, pod_checks, read
from cli.doctor.check import Unread
from cli.doctor.evidence import Json, name
from cli.doctor.moving import Report, Workload
from unigpu_kube import objects
from unigpu_kube.client import Client
from webhook.translation.options import Options

_PAGE = 250


async def report(api: Client, options: Options) -> Report:
    """Return what can be read; `options` say what the cluster's dialects mean. Raises Unavailable, and Rejected."""
    pods = moving.Pods(options)
    listed = await read.attempt(_pods(api, pods))
    nodes, daemons, deployments, hooks, quotas, ranges = await asyncio.gather(
        read.attempt(api.items(objects.NODES, limit=_PAGE)),
        read.attempt(api.items("/apis/apps/v1/daemonsets")),
        read.attempt(api.items("/apis/apps/v1/deployments")),
        read.attempt(api.items("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations")),
        read.attempt(api.items("/api/v1/resourcequotas")),
        read.attempt(api.items("/api/v1/limitranges")),
    )
    parts = daemons if isinstance(daemons, Unread) or isinstance(deployments, Unread) else [*daemons, *deployments]
    return Report(
        workloads=listed,
        already=pods.already,
        components=_known(parts, moving.component),
        webhooks=_known(hooks, moving.webhook),
        nodes=nodes
        if isinstance(nodes, Unread)
        else {name(node): found for node in nodes if (found := moving.offered(node))},
        quotas=_named(quotas, lambda one: (one.get("spec") or {}).get("hard") or ()),
        limit_ranges=_named(ranges, pod_checks.limited),
    )


async def _pods(api: Client, pods: moving.Pods) -> list[Workload]:
    async for page in api.pages(objects.PODS, {"fieldSelector": objects.RUNNING}, limit=_PAGE):
        for pod in page.items:
            pods.add(pod)
    return pods.workloads()


def _known(
    found: Sequence[Json] | Unread, about: Callable[[Json], tuple[str, str] | None]
) -> list[tuple[str, str]] | Unread:
    if isinstance(found, Unread):
        return found
    return [known for one in found if (known := about(one)) is not None]


def _named(found: Sequence[Json] | Unread, resources: Callable[[Json], Iterable[str]]) -> list[str] | Unread:
    if isinstance(found, Unread):
        return found
    return [
        f"{name(one)}: {', '.join(vendors)}" for one in found if (vendors := pod_checks.vendors_names(resources(one)))
    ]
