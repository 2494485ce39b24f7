"""What the agent does: it carries a pod's allocation out when a container starts, and takes it back with the pod.

Nothing is remembered that isn't on the node's disk or in the API server too: the agent may be killed at any time.
"""

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from deviceplugin import apiserver, pods
from deviceplugin.allocation import allocate
from deviceplugin.allocation.allocate import Decision, Node
from deviceplugin.apiserver import ApiServer
from deviceplugin.kubelet import slot_owner
from deviceplugin.kubelet.pod_resources import PodResources
from deviceplugin.lending.lending_loop import LendingLoop
from deviceplugin.limits.limit_reconciler import LimitReconciler
from deviceplugin.node.driver import Driver
from deviceplugin.node.libvgpu_install import InstalledLibvgpu
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore, StoredGrant
from unigpu import cdi, errors, logs
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.requests import Role

logger = logging.getLogger(__name__)

_PATIENCE = 15.0
"""Seconds to wait for a pod's status to tell which of its containers starts; the kubelet waits twice as long."""
_PAUSE = 0.1
_FORESIGHT = (0.02, 0.1, 0.3, 1.0)
"""Seconds to wait before each attempt to learn the owner of slots that were just allocated."""


class Agent:
    """The node's grants, and everything that changes them."""

    def __init__(
        self,
        node: Node,
        api: ApiServer,
        pod_resources: PodResources,
        checkpoint: Path,
        folders: ContainerStore,
        specs: CdiStore,
        driver: Driver,
        installed: InstalledLibvgpu,
        lending: LendingLoop,
    ) -> None:
        self.node = node
        self.kept: dict[tuple[str, str], StoredGrant] = folders.load()
        """All grants, by pod UID and container."""
        self._api = api
        self._pod_resources = pod_resources
        self._checkpoint = checkpoint
        self._folders = folders
        self._specs = specs
        self._driver = driver
        self._installed = installed
        self._lending = lending
        self.limits = LimitReconciler(api, folders, self.kept, lambda: self.node, self._seat)
        self._writing: dict[str, asyncio.Lock] = {}
        self._turn: dict[str, object] = {}
        """Marks each allocation, by first slot, until its container is started."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Work that nobody waits for: a task that isn't held anywhere may vanish."""
        self._lost: dict[str, float] = {}
        """When each pod's sandbox was last lost, by UID: a new one is soon there, and the pod's status forgets."""
        self._lingering: set[tuple[str, str]] = set()
        """Containers whose pod is gone while a program of theirs lives; they stay in the books until it ends."""

    def see_gpus(self, gpus: Sequence[Gpu]) -> None:
        """Take note of the node's GPUs."""
        self.node = dataclasses.replace(self.node, gpus={gpu.uuid: gpu for gpu in gpus})

    async def see_labels(self, labels: Mapping[str, str]) -> None:
        """Take note of the node's labels: a change of mode is soon in force, in running containers too."""
        if labels != self.node.labels:
            self.node = dataclasses.replace(self.node, labels=labels)
            for uid in {uid for uid, _ in self.kept} & self.limits.pods.keys():
                self._let_run(self.limits.write(uid))

    def _let_run(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that nobody waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def allocated(self, slots: Sequence[str]) -> None:
        """The kubelet gave free slots to a container: what they said of an earlier holder must not be read again.

        Their new spec is written as soon as their owner is known, long before the container is created: a runtime takes
        a while to read specs when many change.
        """
        for slot in slots:
            self._specs.remove(slot)
        self._turn[min(slots)] = turn = object()
        self._let_run(self._prewrite_spec(frozenset(slots), turn))

    async def prestart(self, slots: Sequence[str]) -> None:
        """The kubelet is about to start the container that holds these slots: write down what it gets.

        Raises UnigpuError with one sentence for the pod's events; the kubelet then doesn't start the container.
        """
        began = time.monotonic()
        self._turn.pop(min(slots), None)
        try:
            pod, container = await self._owner(frozenset(slots))
            pod = await self.limits.settle(pod)
            labels = self.node.labels
            decision = await self._decide(pod, container, slots)
            await self._carry_out(decision)
            known = self.limits.pods.get(pod.uid, pod)
            if self.node.labels != labels or known.annotations != pod.annotations:
                await self.limits.write(pod.uid)
        except errors.UnigpuError as error:
            logs.event(logger, "refused", logging.WARNING, slots=",".join(sorted(slots)), reason=error)
            raise
        logs.event(
            logger,
            "granted",
            pod=pod.title,
            uid=pod.uid,
            container=container,
            slots=",".join(decision.grant.slots),
            gpus=",".join(share.gpu for share in decision.grant.shares),
            memory_mib=",".join(str(share.memory) for share in decision.grant.shares),
            cores=",".join(str(share.cores) for share in decision.grant.shares),
            dialect=decision.grant.dialect,
            memory_enforced=decision.policy.memory_enforced,
            cores_enforced=decision.policy.cores_enforced,
            milliseconds=round((time.monotonic() - began) * 1000, 1),
        )

    async def follow_pods(self) -> None:
        """Keep the grants those of living pods. Never ends by itself."""
        async for event in self._api.follow_pods():
            if isinstance(event, apiserver.Listed):
                await self.reconcile([pods.read(document) for document in event.objects], event.asked)
                continue
            pod = pods.read(event.object)
            if event.gone or pod.finished:
                self.limits.forget(pod.uid)
                self._lost.pop(pod.uid, None)
                await self._release([key for key in self.kept if key[0] == pod.uid])
                self._gc_cdi_specs()
            elif self.limits.observe(pod):
                self._note(pod)
                await self._forget(self._done(pod), "init container has ended")

    async def reconcile(self, present: Sequence[pods.Pod], asked: float) -> None:
        """Make the grants those of these pods, which are all there are, or were when they were `asked` for."""
        there = {pod.uid: pod for pod in present if not pod.finished}
        for uid in self.limits.pods.keys() - there.keys():
            self.limits.forget(uid)
        for pod in there.values():
            self.limits.observe(pod)
        gone = [key for key, kept in self.kept.items() if key[0] not in self.limits.pods and kept.prepared < asked]
        await self._release(gone)
        self._lost = {uid: since for uid, since in self._lost.items() if uid in self.limits.pods}
        for pod in self.limits.pods.values():
            self._note(pod)
            await self._forget(self._done(pod), "init container has ended")
        for key in self._folders.names():
            if key not in self.kept and key[0] not in self.limits.pods:
                self._folders.remove(*key)
        self._gc_cdi_specs()
        self._seat()

    def _gc_cdi_specs(self) -> None:
        """Remove CDI specs of pods that are gone."""
        present = {*self.limits.pods, *(uid for uid, _ in self.kept)}
        for slot in self._specs.slots():
            owner = self._specs.owner(slot)
            if owner is None or owner.parent.name not in present:
                self._specs.remove(slot, owner)

    async def tidy(self, interval: float) -> None:
        """Remove CDI specs of containers that run: they were read, and must not be read again for another;
        and the runtime reads all that there are whenever one changes. Never ends by itself."""
        while True:
            await asyncio.sleep(interval)
            await self._release(list(self._lingering))
            now = time.time()
            for (uid, container), kept in self.kept.items():
                pod = self.limits.pods.get(uid)
                progress = pod.progress.get(container) if pod is not None else None
                since = progress.running_since if progress is not None else None
                old = now - kept.prepared > slot_owner.SETTLE
                if old and since is not None and since >= math.floor(kept.prepared):
                    self._specs.remove(min(kept.grant.slots), self._folders.of(uid, container))

    async def _owner(self, slots: frozenset[str]) -> tuple[pods.Pod, str]:
        claim = await self._claim(slots)
        deadline = time.monotonic() + _PATIENCE
        while True:
            pod = await self._pod(claim)
            self._note(pod)
            pod = dataclasses.replace(pod, sandbox_lost=self._lost.get(pod.uid))
            prepared = {container: kept.prepared for (uid, container), kept in self.kept.items() if uid == pod.uid}
            container = slot_owner.starting(pod, claim.containers, prepared, time.time())
            if container == "":
                raise errors.Unavailable(f"the kubelet's container isn't in pod {pod.title} of the API server")
            if container is not None:
                return pod, container
            if time.monotonic() > deadline:
                raise errors.Unavailable(f"the status of pod {pod.title} doesn't say which container is to start")
            await asyncio.sleep(_PAUSE)

    async def _claim(self, slots: frozenset[str]) -> slot_owner.Claim:
        try:
            return slot_owner.claim(slots, (), await asyncio.to_thread(self._read_checkpoint))
        except errors.UnigpuError as error:
            logs.event(logger, "pod-resources API is asked", slots=",".join(sorted(slots)), reason=error)
            return slot_owner.claim(slots, await self._pod_resources.holders(), ())

    def _note(self, pod: pods.Pod) -> None:
        if pod.sandbox_lost is None or pod.sandbox_lost == self._lost.get(pod.uid):
            return
        self._lost[pod.uid] = pod.sandbox_lost
        if any(one.running_since is not None or one.ended_at is not None for one in pod.progress.values()):
            logs.event(logger, "sandbox lost", pod=pod.title, uid=pod.uid)

    async def _pod(self, claim: slot_owner.Claim) -> pods.Pod:
        where = claim.pod
        if where is None:
            known = self.limits.pods.get(claim.uid or "")
            if known is None:
                found = [pods.read(document) for document in await self._api.pods()]
                known = next((pod for pod in found if pod.uid == claim.uid), None)
            if known is None:
                raise errors.Unavailable(f"the API server doesn't know the pod with UID {claim.uid}")
            where = (known.namespace, known.name)
        try:
            pod = pods.read(await self._api.pod(*where))
        except apiserver.Missing as error:
            raise errors.Unavailable(f"pod {'/'.join(where)} is gone from the API server") from error
        if claim.uid is not None and pod.uid != claim.uid:
            raise errors.Unavailable(f"pod {pod.title} has UID {pod.uid}, and the kubelet starts that with {claim.uid}")
        return pod

    def _read_checkpoint(self) -> tuple[slot_owner.Entry, ...]:
        try:
            return slot_owner.read_checkpoint(self._checkpoint.read_text())
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Unavailable(f"the kubelet's checkpoint can't be read: {error}") from error

    async def _decide(self, pod: pods.Pod, container: str, slots: Sequence[str]) -> Decision:
        deadline = time.monotonic() + _PATIENCE
        with contextlib.suppress(errors.Denied):
            return self._enter(allocate.decide(self.node, pod, container, slots, self._held()))
        # Perhaps a pod that is gone is still in the books.
        asked = time.time()
        await self.reconcile([pods.read(document) for document in await self._api.pods()], asked)
        while True:
            try:
                return self._enter(allocate.decide(self.node, pod, container, slots, self._held()))
            except errors.Denied:
                if not self._lingering or time.monotonic() > deadline:
                    raise
            # A pod that was deleted by force is gone before its programs are; what they hold can't be given away yet.
            await asyncio.sleep(_PAUSE)
            await self._release(list(self._lingering))

    def _held(self) -> list[Grant]:
        return self.limits.held()

    def _seat(self) -> None:
        """Tell the lender whose accounts there are, and that something of them changed."""
        self._lending.observe(self._folders.of(*key) for key in self.kept)

    def _enter(self, decision: Decision) -> Decision:
        """Into the books, in the same breath as the decision: another that waits already counts with it."""
        self.kept[decision.grant.pod_uid, decision.grant.container] = StoredGrant(decision.grant, time.time())
        return decision

    async def _carry_out(self, decision: Decision) -> None:
        try:
            await asyncio.to_thread(self._folders.write, decision.grant, decision.policy)
            self._seat()
            if not await self._specify(decision):
                raise errors.Unavailable(f"slot {min(decision.grant.slots)} was allocated anew meanwhile")
        except OSError as error:
            raise errors.Unavailable(f"can't write {error.filename}: {error.strerror}") from error

    async def _specify(self, decision: Decision, turn: object = None) -> bool:
        """Write the specs, and say so; not where the slots' `turn` is another by then. Raises OSError, Unavailable."""
        slot = min(decision.grant.slots)
        folder = self._folders.of(decision.grant.pod_uid, decision.grant.container)
        async with self._writing.setdefault(slot, asyncio.Lock()):
            if self._turn.get(slot) is not turn:
                return False  # what lies there may be another container's by now
            if self._specs.owner(slot) not in (None, folder):
                self._specs.remove(slot)
            await asyncio.sleep(self._specs.stale(slot, folder))
            if self._turn.get(slot) is not turn:
                return False
            await asyncio.to_thread(self._write_specs, slot, folder, decision)
            return True

    def _write_specs(self, slot: str, folder: Path, decision: Decision) -> None:
        managed = cdi.common_edits(self._installed.library, self._installed.preload)
        self._specs.write_common(self._driver.common().plus(managed))
        self._specs.write(
            slot, cdi.container_edits(folder).plus(self._driver.own(decision.gpus)).plus(cdi.Edits(env=decision.env))
        )

    async def _prewrite_spec(self, slots: frozenset[str], turn: object) -> None:
        for pause in _FORESIGHT:
            await asyncio.sleep(pause)
            with contextlib.suppress(errors.UnigpuError, OSError):
                claim = slot_owner.claim(slots, (), await asyncio.to_thread(self._read_checkpoint))
                pod = self.limits.pods.get(claim.uid or "")
                container = next((name for name in pod.order if name in claim.containers), None) if pod else None
                if pod is not None and container is not None:
                    decision = allocate.decide(self.node, pod, container, sorted(slots), self._held())
                    await self._specify(decision, turn)
                    return

    def _done(self, pod: pods.Pod) -> list[tuple[str, str]]:
        """Grants of the pod's init containers that have ended well."""
        done = []
        for (uid, container), kept in self.kept.items():
            progress = pod.progress.get(container)
            if (
                uid == pod.uid
                and kept.grant.role is Role.INIT
                and progress is not None
                and progress.running_since is None
                and progress.ended_at is not None
                and progress.ended_at >= math.floor(kept.prepared)
                and progress.exit_code == 0
            ):
                done.append((uid, container))
        return done

    async def _release(self, keys: Sequence[tuple[str, str]]) -> None:
        """Forget containers whose pod is gone, as soon as their programs have ended."""
        ended = []
        for key in keys:
            kept = self.kept.get(key)
            if kept is None or not await asyncio.to_thread(self._folders.in_use, *key):
                self._lingering.discard(key)
                ended.append(key)
            elif key not in self._lingering:
                self._lingering.add(key)
                self._specs.remove(min(kept.grant.slots), self._folders.of(*key))
                pod = f"{kept.grant.namespace}/{kept.grant.pod}"
                logs.event(logger, "pod is gone, and a program of it lives", pod=pod, uid=key[0], container=key[1])
        await self._forget(ended, "pod is gone")

    async def _forget(self, keys: Sequence[tuple[str, str]], reason: str) -> None:
        for key in keys:
            kept = self.kept.pop(key, None)
            if kept is not None:
                self._specs.remove(min(kept.grant.slots), self._folders.of(*key))
                await asyncio.to_thread(self._folders.remove, *key)
                grant = kept.grant
                pod = f"{grant.namespace}/{grant.pod}"
                logs.event(logger, "taken back", pod=pod, uid=key[0], container=key[1], reason=reason)
        if keys:
            self._seat()
