"""By which fields a pod asks for GPUs, in any vendor's dialect. Pure."""

from collections.abc import Mapping
from typing import Any

from unigpu import errors, names
from webhook.translation import dialects, pod_reading, pods
from webhook.translation.options import Options

_DEFAULT = Options()
VENDORS = frozenset(name for name in dialects.OF_RESOURCE if name not in names.UNIFIED_RESOURCES)
"""Every vendor's resource that the webhook translates."""


def fields(pod: Mapping[str, Any]) -> dict[str, str]:
    """Return the resources and annotations by which the pod asks for GPUs, with their values; empty: it doesn't ask."""
    try:
        reading = pod_reading.read(pods.read(pod), _DEFAULT)
    except errors.Malformed:
        return {}
    found: dict[str, str] = {}
    for container in reading.asking:
        for dialect in container.dialects:
            for field in container.fields(dialect):
                found[field] = container.container.value(field) or container.pod.annotations.get(field, "")
    return found
