"""Find pods that were created while no webhook answered, and report them: such a pod has no limits, or never starts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unigpu import errors, logs, names
from unigpu_kube import errors as kube_errors
from unigpu_kube import events, objects
from unigpu_kube.client import Client
from unigpu_kube.events import Kind
from unigpu_kube.objects import Ref
from webhook.translation import pod_reading, pods
from webhook.translation.options import Options

log = logging.getLogger(__name__)
_PAGE = 100
"""Whole pods in one page: bounds the time for which reading a page delays reviews."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A pod that asks for GPUs and was never translated."""

    pod: Ref
    fields: tuple[str, ...]
    """The fields by which it asks."""


def evaluate(document: Mapping[str, Any], options: Options) -> Skipped | None:
    """Return the pod if it asks for GPUs and admission never saw it. Pure."""
    try:
        pod = pods.read(document)
    except errors.Malformed:
        return None
    if names.ANNOTATION_REQUEST in pod.annotations:
        return None
    fields = [
        field
        for container in pod_reading.read(pod, options).asking
        for dialect in container.dialects
        for field in container.fields(dialect)
    ]
    if not fields:
        return None
    return Skipped(objects.ref(document), tuple(dict.fromkeys(fields)))


class SkippedPods:
    """Searches all pods at intervals."""

    def __init__(
        self, client: Client, options: Callable[[str], Options], excluded: Sequence[str], reporter: str
    ) -> None:
        self._client, self._options, self._excluded, self._reporter = client, options, frozenset(excluded), reporter
        self.found = 0
        """Number found by the last search."""

    async def run(self, seconds: float) -> None:
        """Search at once and then every `seconds`; never returns."""
        while True:
            try:
                await self.search()
            except (errors.Unavailable, kube_errors.Rejected) as error:
                logs.event(log, "search for skipped pods failed", logging.WARNING, reason=error)
            await asyncio.sleep(seconds)

    async def search(self) -> int:
        """Search once, report, and return the number found.

        Raises Unavailable, Rejected.
        """
        found = 0
        async for skipped in self._skipped():
            found += 1
            await self._report(skipped)
        self.found = found
        return found

    async def _skipped(self) -> AsyncIterator[Skipped]:
        query = {"fieldSelector": objects.RUNNING}
        async for page in self._client.pages(objects.PODS, query, limit=_PAGE):
            for document in page.items:
                namespace = objects.ref(document).namespace
                if namespace not in self._excluded:
                    skipped = evaluate(document, self._options(namespace))
                    if skipped is not None:
                        yield skipped
                await asyncio.sleep(0)  # reviews come first

    async def _report(self, skipped: Skipped) -> None:
        """Write one event on the pod. Its name is the pod's UID, so that no replica repeats it."""
        fields = ", ".join(skipped.fields)
        pod = skipped.pod
        logs.event(log, "pod skipped admission", logging.WARNING, pod=pod.title, pod_uid=pod.uid, fields=fields)
        event = events.body(
            pod,
            kind=Kind.POD,
            name=f"unigpu-skipped-{pod.uid}",
            reason=names.EVENT_ADMISSION_SKIPPED,
            message=f"{fields}: no unigpu webhook saw the pod when it was created: none answered, or its namespace was "
            "excluded then; it has no share of a GPU and no limits; accepted: the same pod, deleted and created again",
            component="unigpu-webhook",
            instance=self._reporter,
        )
        await events.create(self._client, event)
