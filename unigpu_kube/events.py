"""Events that people see with `kubectl describe`: on pods and on nodes."""

import enum
from datetime import UTC, datetime

from unigpu_kube import errors, objects
from unigpu_kube.client import Client, Json
from unigpu_kube.objects import Ref

MOST_MESSAGE = 1024
"""Bytes of an event's message, as the API server checks it."""
NODE_NAMESPACE = "default"
"""Namespace of the events of objects that have none."""


class Kind(enum.StrEnum):
    """What most events are about."""

    POD = "Pod"
    NODE = "Node"


class Severity(enum.StrEnum):
    """An event's type."""

    NORMAL = "Normal"
    WARNING = "Warning"


def body(
    about: Ref,
    *,
    kind: str,
    name: str,
    reason: str,
    message: str,
    component: str,
    instance: str = "",
    severity: Severity = Severity.WARNING,
    now: datetime | None = None,
    api_version: str = "v1",
) -> Json:
    """Return an event on an object. `name` tells it from others: two with the same name are one event.

    `instance` is the pod that reports, empty outside Kubernetes.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    encoded = message.encode()
    if len(encoded) > MOST_MESSAGE:
        message = encoded[: MOST_MESSAGE - 3].decode(errors="ignore") + "…"
    namespace = about.namespace or NODE_NAMESPACE
    involved = {"apiVersion": api_version, "kind": str(kind), "name": about.name, "uid": about.uid}
    if about.namespace:
        involved["namespace"] = about.namespace
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": severity.value,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": instance,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
    }


async def create(client: Client, event: Json) -> bool:
    """Write an event; return whether it is new.

    An event of that name that exists already is fine, and so is a namespace that is being deleted. Raises Rejected,
    Unavailable.
    """
    try:
        await client.create(objects.events(event["metadata"]["namespace"]), event)
    except (errors.Conflict, errors.Missing):
        return False
    except errors.Rejected as error:
        if error.status == 403 and "being terminated" in error.message:
            return False
        raise
    return True
