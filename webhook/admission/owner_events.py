"""Tell a controller's people of warnings about its pods, by events on the controller.

kubectl shows the warnings of a pod that somebody creates. Those of a Deployment's or a Job's pods reach only the
controller, which drops them.

A review may come from anybody who reaches the webhook's port. So nothing is written before the API server shows a pod
in that namespace which has that controller.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass

from unigpu import errors, logs, names
from unigpu_kube import errors as kube_errors
from unigpu_kube import events, objects
from unigpu_kube.client import Client
from unigpu_kube.objects import Owner, Ref
from webhook.admission.admission_review import Review
from webhook.admission.review import Verdict

log = logging.getLogger(__name__)
WAITING = 1000
"""Warned pods that wait at most; the oldest are dropped."""
REMEMBERED = 10_000
"""Warnings that aren't looked into again."""
PAUSES = (0.5, 5.0)
"""Seconds before each search for the pod: at its review it doesn't exist yet."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A pod of a controller that was admitted with warnings."""

    namespace: str
    owner: Owner
    warnings: tuple[str, ...]


def warned(review: Review, verdict: Verdict) -> Warned | None:
    """Return the controller's pod of which the review warns; None where there is nothing to tell. Pure."""
    warnings = tuple(verdict.answer["response"].get("warnings", ()))
    created = (review.kind, review.operation, review.subresource) == ("Pod", "CREATE", "")
    owner = objects.controller(review.document)
    if not warnings or not created or owner is None or review.dry_run or not objects.is_name(review.namespace):
        return None
    return Warned(review.namespace, owner, warnings)


class OwnerEvents:
    """Writes the events, one controller after the other."""

    def __init__(self, client: Client, reporter: str) -> None:
        self._client, self._reporter = client, reporter
        self._waiting: deque[Warned] = deque(maxlen=WAITING)
        self._known: OrderedDict[Warned, None] = OrderedDict()
        self._wake = asyncio.Event()

    def add(self, found: Warned) -> None:
        """Tell of a pod, unless the same was added for its controller before."""
        if found in self._known:
            self._known.move_to_end(found)
            return
        self._known[found] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._waiting.append(found)
        self._wake.set()

    async def run(self) -> None:
        """Write events as they come. Never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                found = self._waiting.popleft()
                try:
                    await self._tell(found)
                except (errors.Unavailable, kube_errors.Rejected) as error:
                    self._known.pop(found, None)
                    about = f"{found.namespace}/{found.owner.name}"
                    logs.event(log, "controller not told", logging.WARNING, controller=about, reason=error)

    async def _tell(self, found: Warned) -> None:
        """Raises Unavailable, Rejected."""
        if not await self._exists(found):
            self._known.pop(found, None)
            return
        about = Ref(found.namespace, found.owner.name, found.owner.uid)
        for warning in found.warnings:
            # The same warning of the same controller is one event, whichever replica tells it.
            mark = hashlib.sha256(f"{found.owner.uid}\0{warning}".encode()).hexdigest()[:16]
            event = events.body(
                about,
                kind=found.owner.kind,
                api_version=found.owner.api_version,
                name=f"{found.owner.name[:200].rstrip('.-')}.{mark}",
                reason=names.EVENT_REQUEST_WARNING,
                message=f"its pods: {warning}",
                component="unigpu-webhook",
                instance=self._reporter,
            )
            await events.create(self._client, event)

    async def _exists(self, found: Warned) -> bool:
        for pause in PAUSES:
            await asyncio.sleep(pause)
            async for page in self._client.pages(
                f"{objects.NAMESPACES}/{found.namespace}/pods", {}, metadata_only=True
            ):
                if any(objects.controller(item) == found.owner for item in page.items):
                    return True
        return False
