"""Find pods that were created while no webhook answered, and report them: such a pod has no limits, or never starts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes_asyncio import client

from unigpu import errors, logs, names
from webhook import watching
from webhook.translation import pod_reading, pods
from webhook.translation.options import Options

log = logging.getLogger(__name__)
REASON = "GpuAdmissionSkipped"
_RUNNING = "status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A pod that asks for GPUs and was never translated."""

    namespace: str
    name: str
    uid: str
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
    metadata = document.get("metadata") or {}
    return Skipped(metadata.get("namespace", ""), pod.name, metadata.get("uid", ""), tuple(dict.fromkeys(fields)))


class SkippedPods:
    """Searches all pods at intervals."""

    def __init__(
        self, api: client.ApiClient, options: Callable[[str], Options], excluded: Sequence[str], reporter: str
    ) -> None:
        self._api, self._options, self._excluded, self._reporter = api, options, frozenset(excluded), reporter
        self.found = 0
        """Number found by the last search."""

    async def run(self, seconds: float) -> None:
        """Search at once and then every `seconds`; never returns."""
        while True:
            try:
                await self.search()
            except errors.Unavailable as error:
                logs.event(log, "search for skipped pods failed", logging.WARNING, error=error)
            await asyncio.sleep(seconds)

    async def search(self) -> int:
        """Search once, report, and return the number found.

        Raises Unavailable where the API server doesn't answer.
        """
        found = 0
        async for skipped in self._skipped():
            found += 1
            await self._report(skipped)
        self.found = found
        return found

    async def _skipped(self) -> AsyncIterator[Skipped]:
        query = {"fieldSelector": _RUNNING}
        async for page, _ in watching.pages(self._api, "/api/v1/pods", query, metadata=False):
            for document in page:
                namespace = (document.get("metadata") or {}).get("namespace", "")
                if namespace not in self._excluded:
                    skipped = evaluate(document, self._options(namespace))
                    if skipped is not None:
                        yield skipped
                await asyncio.sleep(0)  # reviews come first

    async def _report(self, skipped: Skipped) -> None:
        """Write one event on the pod. Its name is the pod's UID, so that no replica repeats it."""
        fields = ", ".join(skipped.fields)
        logs.event(
            log,
            "pod skipped admission",
            logging.WARNING,
            pod=f"{skipped.namespace}/{skipped.name}",
            pod_uid=skipped.uid,
            fields=fields,
        )
        now = datetime.now(UTC)
        body = client.CoreV1Event(
            metadata=client.V1ObjectMeta(name=f"unigpu-skipped-{skipped.uid}", namespace=skipped.namespace),
            involved_object=client.V1ObjectReference(
                api_version="v1", kind="Pod", name=skipped.name, namespace=skipped.namespace, uid=skipped.uid
            ),
            type="Warning",
            reason=REASON,
            message=f"{fields}: the pod was created while no unigpu webhook answered, so it has no share of a GPU and "
            "no limits; accepted: the same pod, deleted and created again",
            source=client.V1EventSource(component="unigpu-webhook"),
            reporting_component="unigpu-webhook",
            reporting_instance=self._reporter,
            count=1,
            first_timestamp=now,
            last_timestamp=now,
        )
        try:
            async with asyncio.timeout(10):
                await client.CoreV1Api(self._api).create_namespaced_event(skipped.namespace, body)
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise errors.Unavailable(f"writing an event: {error.status} {error.reason}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.Unavailable(f"writing an event: {str(error) or type(error).__name__}") from error
