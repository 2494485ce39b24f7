"""What the doctor looks at. Every part may be missing, because the caller may not read it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.doctor.check import Unread
from cli.status.view import View

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pods:
    """What is seen in the cluster's pods."""

    skipped: Sequence[tuple[str, str]]
    """Title and fields of each pod that asks for GPUs and that the webhook never translated."""
    view: View
    """The GPUs with what all pods take of them."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The cluster as the caller may see it. None: there is no such object."""

    now: datetime
    namespace: str
    """unigpu's own."""
    version: Json | Unread
    mutating: Json | Unread | None
    validating: Json | Unread | None
    slices: Sequence[Json] | Unread
    """EndpointSlices of the webhook's Service."""
    secret: Json | Unread | None
    deployments: Sequence[Json] | Unread
    parts: Sequence[Json] | Unread
    """Pods of unigpu itself."""
    nodes: Sequence[Json] | Unread
    quotas: Sequence[Json] | Unread
    limit_ranges: Sequence[Json] | Unread
    pods: Pods | Unread


def name(document: Json) -> str:
    """Return `namespace/name`, or the name."""
    metadata = document.get("metadata") or {}
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata.get('name')}" if namespace else str(metadata.get("name"))


def some(titles: Sequence[str], most: int = 3) -> str:
    """Return the first few titles, and how many more there are."""
    more = len(titles) - most
    return ", ".join(titles[:most]) + (f" and {more} more" if more > 0 else "")
