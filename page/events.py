"""unigpu's events, the newest first, as far as the viewer may read them."""

import asyncio
from typing import Any

from cli import failures
from unigpu import errors, names
from unigpu_kube import objects
from unigpu_kube.client import Client

API_VERSION = f"{names.DOMAIN}/events/v1"
MOST = 200
_PAGE = 500
_EVENTS = "/api/v1/events"
REASONS = tuple(sorted(value for key, value in vars(names).items() if key.startswith("EVENT_")))


async def document(api: Client, namespace: str) -> dict[str, Any]:
    """Return the events of all namespaces, or of one. Raises Rejected, Unavailable."""
    path = objects.events(namespace) if namespace else _EVENTS
    answers = await asyncio.gather(*(_of(api, path, reason) for reason in REASONS))
    found = sorted((one for answer in answers for one in answer), key=lambda one: one["last"], reverse=True)
    return {"apiVersion": API_VERSION, "namespace": namespace or None, "events": found[:MOST]}


async def _of(api: Client, path: str, reason: str) -> list[dict[str, Any]]:
    # Field selectors know no "or".
    query: dict[str, str | int] = {"fieldSelector": f"reason={reason}", "limit": _PAGE}
    return [event(one) for one in await api.short_list(path, query) if isinstance(one, dict)]


def event(one: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of an event."""
    about = one.get("involvedObject") or {}
    last = one.get("lastTimestamp") or one.get("eventTime") or (one.get("metadata") or {}).get("creationTimestamp")
    return {
        "last": str(last or ""),
        "count": one.get("count") or 1,
        "type": str(one.get("type") or ""),
        "reason": str(one.get("reason") or ""),
        "kind": str(about.get("kind") or ""),
        "namespace": str(about.get("namespace") or ""),
        "name": str(about.get("name") or ""),
        "message": str(one.get("message") or ""),
    }


async def readable(api: Client, namespace: str, own: str) -> dict[str, Any]:
    """Return `document`, of namespace `own` where the viewer may not read those of all."""
    try:
        return await document(api, namespace)
    except errors.UnigpuError as error:
        if namespace or not failures.forbidden(error):
            raise
        return await document(api, own)
