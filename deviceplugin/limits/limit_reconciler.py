"""Limits that are in force: those of the pods' annotations, put there while containers run.

Three things must agree: the annotation that says what is in force, the containers' policies and grants, and the pod's
events. They are written in an order in which the agent may be killed anywhere: what a change takes is taken, then it is
told, then the annotation says so, and then what the change gives is given. So the cluster's books never count less than
a container may have, and whoever goes on finds how far it came.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from deviceplugin import apiserver, pods
from deviceplugin.allocation import allocate
from deviceplugin.allocation.allocate import Node
from deviceplugin.apiserver import ApiServer
from deviceplugin.limits import changes
from deviceplugin.limits.changes import Change
from deviceplugin.store.container_store import ContainerStore, StoredGrant
from unigpu import errors, limits, logs, names
from unigpu.grants import Grant
from unigpu.limits import Applied
from unigpu.units import GpuUuid, MiB

logger = logging.getLogger(__name__)

_SECOND_LOOK = 1.0
"""Seconds between two looks at what programs still hold beyond their limits, and at changes that had to wait."""
_COMPONENT = "unigpu-node-agent"

Key = tuple[str, str]
"""Pod UID and container."""


class LimitReconciler:
    """Changes limits of the containers in `kept`, and keeps that saying what they have."""

    def __init__(
        self,
        api: ApiServer,
        folders: ContainerStore,
        kept: MutableMapping[Key, StoredGrant],
        node: Callable[[], Node],
        changed: Callable[[], None],
    ) -> None:
        """`node` tells what is known of the node now; `changed` is called when policies are others."""
        self.pods: dict[str, pods.Pod] = {}
        """The node's pods as last heard of, by UID."""
        self._api = api
        self._folders = folders
        self._kept = kept
        self._node = node
        self._changed = changed
        self._beyond: dict[Key, Mapping[GpuUuid, MiB]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._refused: dict[str, str] = {}
        """By UID: the reason for which a change had to wait, which was told."""
        self._logged: dict[str, tuple[str, str]] = {}
        """By UID: what was logged last of what stands in the way."""
        self._wake = asyncio.Event()
        self._waiting: set[str] = set()

    def held(self) -> list[Grant]:
        """All grants, with what is in use where that is more."""
        return changes.counted(self._grants(), self._beyond)

    def observe(self, pod: pods.Pod) -> bool:
        """The pod is this now; False where something newer is known of it."""
        known = self.pods.get(pod.uid)
        if known is not None and known.version > pod.version:
            return False
        self.pods[pod.uid] = pod
        if known is None or known.annotations != pod.annotations:
            self._waiting.add(pod.uid)
            self._wake.set()
        return True

    def forget(self, uid: str) -> None:
        """The pod is gone, or has finished."""
        self.pods.pop(uid, None)
        self._refused.pop(uid, None)
        self._logged.pop(uid, None)
        if uid in self._turns and not self._turns[uid].locked():
            del self._turns[uid]
        for key in [key for key in self._beyond if key[0] == uid]:
            del self._beyond[key]

    async def work(self) -> None:
        """Carry changes out as they come. Never ends by itself."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async with asyncio.timeout(_SECOND_LOOK):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                heard, self._waiting = self._waiting, set()
                for uid in {uid for uid, _ in self._kept}:
                    pod = self.pods.get(uid)
                    if pod is not None and (uid in heard or _has_limits(pod)):
                        group.create_task(self._tend(uid, heard=uid in heard))

    async def settle(self, pod: pods.Pod) -> pods.Pod:
        """Carry out what is wanted for a pod before a container of it starts; the pod as it is then."""
        self.observe(pod)
        if _has_limits(self.pods[pod.uid]):
            await self._tend(pod.uid, heard=False)
        return self.pods.get(pod.uid, pod)

    async def write(self, uid: str) -> None:
        """Write a pod's policies as they follow from what is known, once a change that is under way is done.

        Of a change that is half done nothing is given back: then they are written when it goes on.
        """
        await self._tend(uid, heard=True)

    async def _tend(self, uid: str, *, heard: bool) -> None:
        """Make all agree for one pod. What stands in the way is logged, and looked at again."""
        async with self._turns.setdefault(uid, asyncio.Lock()):
            pod = self.pods.get(uid)
            if pod is None:
                return
            try:
                change = changes.pending(pod, self._node().labels) if _has_limits(pod) else None
                if change is not None:
                    await self._carry_out(pod, change)
                self._refused.pop(uid, None)
                self._logged.pop(uid, None)
            except (errors.Unavailable, OSError) as error:
                # It may be half done: what was taken isn't given back meanwhile.
                self._log(pod, "limits wait", error)
                return
            except (errors.Denied, errors.Malformed) as error:
                change = None
                await self._refuse(pod, str(error))
            pod = self.pods.get(uid, pod)
            if heard or change is not None:
                await self._write(pod)
            if _has_limits(pod):
                await self._tell_held(pod)

    async def _write(self, pod: pods.Pod) -> None:
        """Write the policies that follow from what is known now, where they differ from what is in force."""
        try:
            held = changes.held(pod, pod.applied().limits, self._node().labels)
        except errors.UnigpuError as error:
            self._log(pod, "limits not written", error)
            return
        for name, to in held.items():
            kept = self._kept.get((pod.uid, name))
            if kept is None or len(kept.grant.shares) != len(to.shares):
                continue
            grant = kept.grant
            if tuple(grant.shares) != tuple(to.shares):
                grant = dataclasses.replace(grant, shares=tuple(to.shares), changes=grant.changes + 1)
                self._kept[pod.uid, name] = dataclasses.replace(kept, grant=grant)
            decided = allocate.limit(self._node(), to.request, to.shares)
            try:
                written = await asyncio.to_thread(
                    self._folders.change, pod.uid, name, grant.shares, grant.changes, decided
                )
            except (errors.UnigpuError, OSError) as error:
                self._log(pod, "limits not written", error)
                continue
            if written:
                self._changed()
                logs.event(
                    logger,
                    "policy written",
                    pod=pod.title,
                    uid=pod.uid,
                    container=name,
                    memory_mib=",".join(str(share.memory) for share in to.shares),
                    cores=",".join(str(gpu.cores) for gpu in decided.gpus),
                    ceiling=",".join(str(gpu.ceiling) for gpu in decided.gpus),
                    policy=decided.compute,
                    memory_enforced=decided.memory_enforced,
                    cores_enforced=decided.cores_enforced,
                )

    async def _carry_out(self, pod: pods.Pod, change: Change) -> None:
        reason = changes.refusal(self._node(), pod, change, self._grants(), self._beyond)
        if reason is not None:
            raise errors.Denied(reason)
        # In the same breath into the books: another that waits already counts with it.
        for name, (before, after) in change.containers.items():
            self._note(pod.uid, name, shares=changes.larger(before, after))
        for name, pair in change.containers.items():
            if (pod.uid, name) in self._kept:
                lowered = changes.lowered(self._node(), *pair)
                if await asyncio.to_thread(self._folders.limit, pod.uid, name, lowered):
                    self._changed()
        beyond = await self._measure(pod, changes.held(pod, change.wanted, self._node().labels))
        count = self._count(pod)
        if change.containers:
            in_use = [
                f"{name}: {text}"
                for name, (_, after) in change.containers.items()
                if (text := changes.in_use(after.shares, beyond.get(name, {})))
            ]
            told = "; ".join([change.text, *in_use])
            await self._tell(pod, names.EVENT_LIMITS_CHANGED, change.before, limits.dump(change.wanted), told)
        logs.event(logger, "limits changed", pod=pod.title, uid=pod.uid, change=change.text or "none")
        await self._annotate(pod, Applied(change.wanted, beyond))
        for uid, name in list(self._kept):
            if uid == pod.uid:
                self._note(uid, name, changes=count + 1)
        for name, (_, after) in change.containers.items():
            self._note(pod.uid, name, shares=tuple(after.shares))

    def _note(self, uid: str, name: str, **fields: Any) -> None:
        """Into the books."""
        kept = self._kept.get((uid, name))
        if kept is not None:
            self._kept[uid, name] = dataclasses.replace(kept, grant=dataclasses.replace(kept.grant, **fields))

    def _count(self, pod: pods.Pod) -> int:
        """How often the pod's limits were changed so far."""
        return max((kept.grant.changes for (uid, _), kept in self._kept.items() if uid == pod.uid), default=0)

    def _grants(self) -> list[Grant]:
        return [kept.grant for kept in self._kept.values()]

    async def _refuse(self, pod: pods.Pod, reason: str) -> None:
        if self._refused.get(pod.uid) == reason:
            return
        logs.event(logger, "limits refused", logging.WARNING, pod=pod.title, uid=pod.uid, reason=reason)
        try:
            before = pod.applied()
            wanted = pod.annotations.get(names.ANNOTATION_LIMITS, "")
            await self._tell(pod, names.EVENT_LIMITS_REFUSED, before, wanted, f"limits stay as they are: {reason}")
        except errors.UnigpuError as error:
            self._log(pod, "event not written", error)
            return
        self._refused[pod.uid] = reason

    async def _tell_held(self, pod: pods.Pod) -> None:
        """Keep the annotation saying what is held beyond the limits, until that is free."""
        try:
            applied = pod.applied()
            if not applied.limits and not applied.held:
                return
            beyond = await self._measure(pod, changes.held(pod, applied.limits, self._node().labels))
            if beyond != applied.held:
                await self._annotate(pod, Applied(applied.limits, beyond))
        except errors.UnigpuError as error:
            self._log(pod, "what is held isn't told", error)

    async def _measure(self, pod: pods.Pod, held: Mapping[str, changes.Held]) -> dict[str, dict[GpuUuid, MiB]]:
        """What the pod's containers have in use where that is more than these shares; noted for the books too."""
        found: dict[str, dict[GpuUuid, MiB]] = {}
        for name, to in held.items():
            key = pod.uid, name
            if key in self._kept and limits.limitable(to.request):
                beyond = await asyncio.to_thread(self._folders.beyond, *key, to.shares)
                self._beyond.pop(key, None)
                if beyond:
                    found[name] = self._beyond[key] = beyond
        return found

    async def _annotate(self, pod: pods.Pod, applied: Applied) -> None:
        """Raises Unavailable."""
        text = limits.dump_applied(applied)
        try:
            document = await self._api.annotate_pod(
                pod.namespace, pod.name, pod.uid, {names.ANNOTATION_LIMITS_APPLIED: text}
            )
        except apiserver.Missing as error:
            raise errors.Unavailable(str(error)) from error
        self.observe(pods.read(document))

    async def _tell(self, pod: pods.Pod, reason: str, before: Applied, wanted: str, message: str) -> None:
        """Write an event on the pod. Raises Unavailable."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": changes.event_name(pod, reason, before, wanted, self._count(pod)),
                "namespace": pod.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
            },
            "type": "Normal" if reason == names.EVENT_LIMITS_CHANGED else "Warning",
            "reason": reason,
            "message": message[:1000],
            "source": {"component": _COMPONENT, "host": self._node().name},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._node().name,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.create_event(pod.namespace, event)

    def _log(self, pod: pods.Pod, what: str, error: Exception) -> None:
        """Once while it stays the same: it is tried again every second."""
        if self._logged.get(pod.uid) != (what, str(error)):
            self._logged[pod.uid] = what, str(error)
            logs.event(logger, what, logging.ERROR, pod=pod.title, uid=pod.uid, reason=error)


def _has_limits(pod: pods.Pod) -> bool:
    return names.ANNOTATION_LIMITS in pod.annotations or names.ANNOTATION_LIMITS_APPLIED in pod.annotations
