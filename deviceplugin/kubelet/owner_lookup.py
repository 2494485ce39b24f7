"""Asks the kubelet, and the API server, which container is about to start with a set of slots.

`slot_owner` has the rules, and says why the checkpoint is read before the pod-resources API is called.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection
from pathlib import Path

from deviceplugin import pods
from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.kubelet import slot_owner
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.node_api import NodeApi, ServerAway
from deviceplugin.pod_cache import PodCache
from deviceplugin.pods import Pod
from unigpu import errors, logs
from unigpu_node.containers import Key

logger = logging.getLogger(__name__)

PATIENCE = 15.0
"""Seconds to wait until a pod's status shows which of its containers starts; the kubelet waits twice as long."""
RESTART_PATIENCE = 1.0
"""Seconds to wait for the API server where a container may start again without it."""
_PAUSE = 0.1


class OwnerLookup:
    """Finds the pod and container that hold slots."""

    def __init__(
        self,
        checkpoint: Path,
        pod_resources: PodResources,
        api: NodeApi,
        cache: PodCache,
        grants: GrantLedger,
        vendors: Collection[str] = (),
    ) -> None:
        """`vendors` are the resources that translated pods keep."""
        self._checkpoint = checkpoint
        self._vendors = frozenset(vendors)
        self._pod_resources = pod_resources
        self._api = api
        self._cache = cache
        self._grants = grants

    async def claim(self, slots: frozenset[str]) -> slot_owner.Claim:
        """Return who holds the slots, as the kubelet says. Raises Unavailable, Malformed."""
        try:
            return slot_owner.claim(slots, (), (await asyncio.to_thread(self._read_checkpoint)).entries)
        except errors.UnigpuError as error:
            logs.event(logger, "calling the pod-resources API", slots=",".join(sorted(slots)), reason=error)
            return slot_owner.claim(slots, await self._pod_resources.holders(), ())

    async def starting(self, claim: slot_owner.Claim, patience: float | None = None) -> tuple[Pod, str]:
        """Return the pod, as the API server has it now, and the name of its container that is about to start.

        `patience`: seconds to wait for each answer of the API server; None: as long as a request may take, and its
        repetitions. Raises ServerAway where it doesn't answer, Unavailable where the container isn't named within
        `PATIENCE`.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            pod = self._cache.with_sandbox(await self._within(patience, claim))
            prepared = {container: stored.prepared for container, stored in self._grants.of_pod(pod.uid).items()}
            container = slot_owner.starting(pod, claim.containers, prepared, time.time())
            if container == "":
                raise errors.Unavailable(f"pod {pod.title} has no container that the kubelet names for these slots")
            if container is not None:
                return pod, container
            if time.monotonic() > deadline:
                raise errors.Unavailable(f"the status of pod {pod.title} doesn't show which of its containers starts")
            await asyncio.sleep(_PAUSE)

    def restarting(self, claim: slot_owner.Claim) -> Key | None:
        """Return pod UID and name of the container that is about to start again with these slots.

        It asks only the node; None where that doesn't know for sure.
        """
        if claim.uid is None:
            return None
        (only, *others) = sorted(claim.containers)
        pod = self._cache.get(claim.uid)
        if others and pod is not None:
            prepared = {container: stored.prepared for container, stored in self._grants.of_pod(pod.uid).items()}
            only = slot_owner.starting(pod, claim.containers, prepared, time.time()) or ""
        elif others:
            return None
        return (claim.uid, only) if only else None

    async def expected(self, slots: frozenset[str]) -> tuple[Pod, str] | None:
        """Return the pod and the first of its containers that will start with these slots.

        Looks only at the checkpoint and the cache; None where they don't name them yet.
        """
        with contextlib.suppress(errors.UnigpuError):
            claim = slot_owner.claim(slots, (), (await asyncio.to_thread(self._read_checkpoint)).entries)
            pod = self._cache.get(claim.uid)
            container = next((name for name in pod.order if name in claim.containers), None) if pod else None
            if pod is not None and container is not None:
                return pod, container
        return None

    async def slots_of(self, pod_uid: str, container: str) -> frozenset[str]:
        """Return the slots that the kubelet's checkpoint has for the container. Raises Unavailable, Malformed."""
        for entry in (await asyncio.to_thread(self._read_checkpoint)).entries:
            if (entry.pod_uid, entry.container) == (pod_uid, container):
                return entry.slots
        raise errors.Unavailable(f"the kubelet's checkpoint has no slots of container {container}")

    async def check_alone(self, pod: Pod, container: str) -> None:
        """Raise Denied where another device plugin gave the container a GPU too, for one of its vendor's resources.

        Of a kubelet whose checkpoint can't be read this isn't known; the scheduler's extender leaves such nodes out.
        """
        entries: tuple[slot_owner.Entry, ...] = ()
        with contextlib.suppress(errors.Malformed, errors.Unavailable):
            entries = (await asyncio.to_thread(self._read_checkpoint)).entries
        for entry in entries:
            twice = entry.others & self._vendors if (entry.pod_uid, entry.container) == (pod.uid, container) else ()
            if twice:
                raise errors.Denied(
                    f"container {container} of pod {pod.title} was given {', '.join(sorted(twice))} by another device "
                    f"plugin of this node, and would have two GPUs for one request; accepted: this node without that "
                    f"plugin, or another node"
                )

    def registered(self) -> frozenset[str] | None:
        """Return the resources of device plugins by the kubelet's checkpoint; None where it can't be read."""
        try:
            return self._read_checkpoint().registered
        except (errors.Malformed, errors.Unavailable) as error:
            logs.event(logger, "other device plugins unknown", logging.WARNING, reason=error)
            return None

    async def _within(self, patience: float | None, claim: slot_owner.Claim) -> Pod:
        try:
            async with asyncio.timeout(patience):
                return await self._pod(claim)
        except TimeoutError as error:
            raise ServerAway(f"the API server doesn't answer within {patience:g} s") from error

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

    def _read_checkpoint(self) -> slot_owner.Checkpoint:
        try:
            return slot_owner.read_checkpoint(self._checkpoint.read_text())
        except FileNotFoundError:
            return slot_owner.Checkpoint()
        except errors.Malformed as error:
            raise errors.Malformed(f"{self._checkpoint}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Unavailable(f"can't read the kubelet's checkpoint {self._checkpoint}: {error}") from error
