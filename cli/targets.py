"""Whose limits are meant: one pod, the pods of a controller, or those with certain labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unigpu import errors

if TYPE_CHECKING:
    from unigpu_kube.client import Client

_PODS = ("pod", "pods", "po")
_CONTROLLERS = {
    "deploy": "apps/v1/deployments",
    "deployment": "apps/v1/deployments",
    "deployments": "apps/v1/deployments",
    "sts": "apps/v1/statefulsets",
    "statefulset": "apps/v1/statefulsets",
    "statefulsets": "apps/v1/statefulsets",
    "ds": "apps/v1/daemonsets",
    "daemonset": "apps/v1/daemonsets",
    "daemonsets": "apps/v1/daemonsets",
    "rs": "apps/v1/replicasets",
    "replicaset": "apps/v1/replicasets",
    "replicasets": "apps/v1/replicasets",
    "job": "batch/v1/jobs",
    "jobs": "batch/v1/jobs",
}
_ACCEPTED = "POD, pod/NAME, deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME, or -l SELECTOR"
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Which pods."""

    pod: str = ""
    """One pod, by name."""
    controller: str = ""
    """API group and resource of a controller: `apps/v1/deployments`."""
    name: str = ""
    """Name of the controller."""
    selector: str = ""
    """Labels, as kubectl's -l takes them."""


def parse(text: str | None, selector: str) -> Target:
    """Return the target that the command line names. Raises Denied."""
    if selector:
        if text:
            raise errors.Denied(f"target = {text}: a selector names the pods already; accepted: one of the two")
        return Target(selector=selector)
    if not text:
        raise errors.Denied(f"no pod is named; accepted: {_ACCEPTED}")
    kind, slash, name = text.rpartition("/")
    if not slash or kind.lower() in _PODS:
        return Target(pod=name)
    controller = _CONTROLLERS.get(kind.lower())
    if controller is None or not name:
        raise errors.Denied(f"target = {text}: it is no pod and no controller of pods; accepted: {_ACCEPTED}")
    return Target(controller=controller, name=name)


def labels(selector: Json) -> str:
    """Return a controller's label selector as a query. Raises Denied for one that selects nothing."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        values = ",".join(one.get("values") or ())
        match one.get("operator"):
            case "In":
                parts.append(f"{one['key']} in ({values})")
            case "NotIn":
                parts.append(f"{one['key']} notin ({values})")
            case "Exists":
                parts.append(one["key"])
            case "DoesNotExist":
                parts.append(f"!{one['key']}")
    if not parts:
        raise errors.Denied("the controller selects no pods by labels; accepted: the pods, one by one")
    return ",".join(parts)


async def pods(api: "Client", namespace: str, target: Target) -> list[Json]:
    """Return the target's pods that haven't ended.

    Raises Denied where there are none; Missing, Rejected, Unavailable.
    """
    from unigpu_kube import objects

    if target.pod:
        return [await api.get(objects.pod(namespace, target.pod))]
    selector = target.selector
    if target.controller:
        group, _, resource = target.controller.rpartition("/")
        found = await api.get(f"/apis/{group}/namespaces/{namespace}/{resource}/{target.name}")
        selector = labels((found.get("spec") or {}).get("selector") or {})
    query = {"labelSelector": selector, "fieldSelector": objects.RUNNING}
    items: list[Json] = await api.items(f"{objects.NAMESPACES}/{namespace}/pods", query)
    if not items:
        raise errors.Denied(f"no pod in namespace {namespace} has labels {selector}; accepted: labels of running pods")
    return sorted(items, key=lambda pod: str(pod["metadata"]["name"]))


def title(target: Target) -> str:
    """Return `deployment web`."""
    resource = target.controller.rpartition("/")[2]
    return f"{resource.removesuffix('s')} {target.name}"
