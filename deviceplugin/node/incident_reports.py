"""Tells people what happens on the node's GPUs: events on pods and on the node, and the log.

Events wait in a queue while the API server doesn't answer. Each is written once: its name follows from the incident.
A container that begins and ends a breach all the time gets a few events; the log has the rest.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from deviceplugin.allocation.grant_ledger import GrantLedger
from deviceplugin.node import incident_words as words
from deviceplugin.node.node_state import NodeState
from deviceplugin.node_api import NodeApi, Refused
from deviceplugin.pod_cache import PodCache
from unigpu import errors, logs, names
from unigpu.breaches import Finding, Key, Kind, Lasting, Process
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, to_mib
from unigpu_kube import events
from unigpu_kube.client import Json
from unigpu_kube.events import Severity
from unigpu_kube.objects import Ref

logger = logging.getLogger(__name__)

_COMPONENT = "unigpu-node-agent"
_MOST = 1000
"""Events that wait at most; the oldest are dropped."""
_MOST_OF_ONE = 10
"""Incidents of one kind, container and GPU that are events within `_WINDOW`; each has a few."""
_WINDOW = 3600.0
_PAUSE = 5.0
"""Seconds until an event is tried again."""


class IncidentReports:
    """Events of the node and of the pods on it."""

    def __init__(self, api: NodeApi, node: NodeState, grants: GrantLedger, cache: PodCache) -> None:
        self._api = api
        self._node = node
        self._grants = grants
        self._cache = cache
        self._waiting: deque[Json] = deque(maxlen=_MOST)
        self._wake = asyncio.Event()
        self._problem = ""
        self._told: dict[Key, dict[str, float]] = {}
        """By finding: when each of its incidents, named by its beginning, was first told."""
        self._kept: dict[str, Ref] = {}
        """Pods by UID that are spoken of after both the API server and their grants have forgotten them."""

    async def run(self) -> None:
        """Write the events. Never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                event = self._waiting.popleft()
                try:
                    await self._api.create_event(event)
                    self._problem = ""
                except Refused as error:  # one that can't be written keeps none of the others waiting
                    logs.event(logger, "event refused", logging.WARNING, event=event["metadata"]["name"], reason=error)
                except errors.Unavailable as error:
                    self._waiting.appendleft(event)
                    if str(error) != self._problem:
                        self._problem = str(error)
                        logs.event(logger, "event not written", logging.WARNING, reason=error)
                    await asyncio.sleep(_PAUSE)

    def pod(self, uid: str) -> Ref | None:
        """Return the pod with that UID; None where neither the API server nor a grant names it, and it wasn't kept."""
        known = self._cache.get(uid)
        if known is not None:
            return Ref(known.namespace, known.name, known.uid)
        for stored in self._grants.of_pod(uid).values():
            return Ref(stored.grant.namespace, stored.grant.pod, uid)
        return self._kept.get(uid)

    def keep(self, pod: Ref) -> None:
        """Remember a pod's name by its UID, until `keep_only` leaves it out."""
        if pod.name:
            self._kept[pod.uid] = pod

    def keep_only(self, uids: Iterable[str]) -> None:
        """Remember the names of these pods, and of no others."""
        self._kept = {uid: pod for uid in uids if uid and (pod := self.pod(uid)) is not None}

    def began(self, lasting: Lasting) -> None:
        """Say that a finding counts."""
        finding = lasting.finding
        self._log("breach" if finding.breach else "GPU memory without a grant", finding, logging.WARNING)
        reason = names.EVENT_BREACH if finding.breach else names.EVENT_STRANGER
        self._about_finding(lasting, reason, words.began(finding, self._node.now.gpus), Severity.WARNING)

    def ended(self, lasting: Lasting) -> None:
        """Say that a finding has ended."""
        finding = lasting.finding
        self._log("breach ended" if finding.breach else "GPU memory without a grant released", finding, logging.INFO)
        reason = names.EVENT_BREACH_ENDED if finding.breach else names.EVENT_STRANGER_GONE
        text = words.ended(finding, lasting.since, self._node.now.gpus)
        self._about_finding(lasting, reason, text, Severity.NORMAL)

    def killed(self, lasting: Lasting, victims: Sequence[Process]) -> None:
        """Say that a breach's processes were ended."""
        self._log("processes of a breach ended", lasting.finding, logging.WARNING, victims)
        text = words.killed(lasting.finding, victims, self._node.now.gpus)
        which = ",".join(f"{one.pid}/{one.started}" for one in victims)
        self._about_finding(lasting, names.EVENT_OFFENDERS_KILLED, text, Severity.WARNING, which)

    def health(self, before: Mapping[GpuUuid, Gpu], after: Iterable[Gpu]) -> None:
        """Say which GPUs have failed or recovered."""
        for gpu in after:
            old = before.get(gpu.uuid)
            was = old.fault if old is not None else None
            if gpu.fault is not None and (was is None or was.since != gpu.fault.since):
                text, since = words.unhealthy(gpu, gpu.fault), gpu.fault.since
                reason, severity = names.EVENT_GPU_UNHEALTHY, Severity.WARNING
            elif gpu.fault is None and was is not None:
                text, since = words.healthy(gpu, was), was.since
                reason, severity = names.EVENT_GPU_HEALTHY, Severity.NORMAL
            else:
                continue
            self._about_node(reason, text, severity, gpu.uuid, since)
            holders = {
                stored.grant.pod_uid
                for _, stored in self._grants.items()
                if any(share.gpu == gpu.uuid for share in stored.grant.shares)
            }
            for uid in sorted(holders):
                self.about_pod(uid, reason, text, severity, gpu.uuid, since)

    def about_pod(self, uid: str, reason: str, text: str, severity: Severity, *identity: str) -> None:
        """Write an event on a pod; those of one reason and identity are one event."""
        pod = self.pod(uid)
        if pod is not None:
            self.event(pod, events.Kind.POD, reason, text, severity, (uid, *identity))

    def event(
        self,
        about: Ref,
        kind: str,
        reason: str,
        text: str,
        severity: Severity,
        identity: Sequence[str],
        api_version: str = "v1",
    ) -> None:
        """Write an event on any object; those of one reason and identity are one event."""
        event = events.body(
            about,
            kind=kind,
            name=words.event_name(about.name, reason, *identity),
            reason=reason,
            message=text,
            component=_COMPONENT,
            instance=self._node.now.name,
            severity=severity,
            api_version=api_version,
        )
        self._waiting.append(event)
        self._wake.set()

    def _about_finding(self, lasting: Lasting, reason: str, text: str, severity: Severity, which: str = "") -> None:
        key = lasting.finding.key
        if key.kind is Kind.UNENFORCED or not self._worth_telling(key, lasting.since):
            return
        identity = (key.kind, key.gpu, key.pod_uid, key.container, lasting.since, which)
        pod = self.pod(key.pod_uid) if key.pod_uid else None
        if pod is not None:
            self.about_pod(key.pod_uid, reason, text, severity, *identity)
        where = f"pod {pod.title}: " if pod is not None else f"pod {key.pod_uid}: " if key.pod_uid else ""
        self._about_node(reason, f"{where}{text}", severity, *identity)

    def _worth_telling(self, key: Key, since: str) -> bool:
        now = time.monotonic()
        for known, incidents in list(self._told.items()):
            self._told[known] = {name: told for name, told in incidents.items() if now - told < _WINDOW}
            if not self._told[known]:
                del self._told[known]
        incidents = self._told.setdefault(key, {})
        if since not in incidents and len(incidents) >= _MOST_OF_ONE:
            return False
        incidents.setdefault(since, now)
        return True

    def _about_node(self, reason: str, text: str, severity: Severity, *identity: str) -> None:
        # The kubelet writes a node's name as its UID too, and `kubectl describe` looks for that.
        name = self._node.now.name
        self.event(Ref("", name, name), events.Kind.NODE, reason, text, severity, identity)

    def _log(self, what: str, finding: Finding, level: int, victims: Sequence[Process] = ()) -> None:
        pod = self.pod(finding.key.pod_uid) if finding.key.pod_uid else None
        fields: dict[str, object] = {}
        if finding.key.pod_uid:
            fields = {"pod": pod.title if pod is not None else "unknown", "pod_uid": finding.key.pod_uid}
            fields["container"] = finding.key.container or "unknown"
        logs.event(
            logger,
            what,
            level,
            at=None,  # else a type checker takes the fields below for it
            **fields,
            kind=finding.key.kind,
            gpu=finding.key.gpu,
            memory=to_mib(finding.memory),
            granted=to_mib(finding.allowed),
            processes=[one.pid for one in victims or finding.processes],
        )
