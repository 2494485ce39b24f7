"""Asks the kubelet, and the API server, which container is about to start with a set of slots.

`slot_owner` has the rules, and says why the checkpoint is read before the pod-resources API is called.
"""

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from deviceplugin import pods
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.kubelet import slot_owner
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.node_api import NodeApi
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from unigpu import errors, logs

logger = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds to wait until a pod's status shows which of its containers starts; the kubelet waits twice as long."""
_PAUSE = 0.1


class OwnerLookup:
    """Finds the pod and container that hold slots."""

    def __init__(
        self, checkpoint: Path, pod_resources: PodResources, api: NodeApi, cache: PodCache, grants: GrantLedger
    ) -> None:
        self._checkpoint = checkpoint
        self._pod_resources = pod_resources
        self._api = api
        self._cache = cache
        self._grants = grants

    async def starting(self, slots: frozenset[str]) -> tuple[Pod, str]:
        """Return the pod, as the API server has it now, and the name of its container that is about to start.

        Raises Unavailable where the kubelet or the API server doesn't name it within `PATIENCE`.
        """
        claim = await self._claim(slots)
        deadline = time.monotonic() + PATIENCE
        while True:
            pod = self._cache.with_sandbox(await self._pod(claim))
            prepared = {container: stored.prepared for container, stored in self._grants.of_pod(pod.uid).items()}
            container = slot_owner.starting(pod, claim.containers, prepared, time.time())
            if container == "":
                raise errors.Unavailable(f"pod {pod.title} has no container that the kubelet names for these slots")
            if container is not None:
                return pod, container
            if time.monotonic() > deadline:
                raise errors.Unavailable(f"the status of pod {pod.title} doesn't show which of its containers starts")
            await asyncio.sleep(_PAUSE)

    async def expected(self, slots: frozenset[str]) -> tuple[Pod, str] | None:
        """Return the pod and the first of its containers that will start with these slots.

        Looks only at the checkpoint and the cache; None where they don't name them yet.
        """
        with contextlib.suppress(errors.UnigpuError):
            claim = slot_owner.claim(slots, (), await asyncio.to_thread(self._read_checkpoint))
            pod = self._cache.get(claim.uid)
            container = next((name for name in pod.order if name in claim.containers), None) if pod else None
            if pod is not None and container is not None:
                return pod, container
        return None

    async def slots_of(self, pod_uid: str, container: str) -> frozenset[str]:
        """Return the slots that the kubelet's checkpoint has for the container. Raises Unavailable, Malformed."""
        for entry in await asyncio.to_thread(self._read_checkpoint):
            if (entry.pod_uid, entry.container) == (pod_uid, container):
                return entry.slots
        raise errors.Unavailable(f"the kubelet's checkpoint has no slots of container {container}")

    async def _claim(self, slots: frozenset[str]) -> slot_owner.Claim:
        try:
            return slot_owner.claim(slots, (), await asyncio.to_thread(self._read_checkpoint))
        except errors.UnigpuError as error:
            logs.event(logger, "calling the pod-resources API", slots=",".join(sorted(slots)), reason=error)
            return slot_owner.claim(slots, await self._pod_resources.holders(), ())

    async def _pod(self, claim: slot_owner.Claim) -> Pod:
        where = claim.pod
        if where is None:
            known = self._cache.get(claim.uid) or await self._find(claim.uid)
            if known is None:
                raise errors.Unavailable(f"the API server has no pod with UID {claim.uid} on this node")
            where = (known.namespace, known.name)
        document = await self._api.pod(*where)
        if document is None:
            raise errors.Unavailable(f"pod {'/'.join(where)} is gone from the API server")
        pod = pods.read(document)
        if claim.uid is not None and pod.uid != claim.uid:
            raise errors.Unavailable(
                f"pod {pod.title} has UID {pod.uid} in the API server, and the kubelet starts the one with {claim.uid}"
            )
        return pod

    async def _find(self, uid: str | None) -> Pod | None:
        present, _ = pods.read_all(await self._api.pods())
        return next((pod for pod in present if pod.uid == uid), None)

    def _read_checkpoint(self) -> tuple[slot_owner.Entry, ...]:
        try:
            return slot_owner.read_checkpoint(self._checkpoint.read_text())
        except FileNotFoundError:
            return ()
        except errors.Malformed as error:
            raise errors.Malformed(f"{self._checkpoint}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Unavailable(f"can't read the kubelet's checkpoint {self._checkpoint}: {error}") from error
