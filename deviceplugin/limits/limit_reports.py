"""Tells people what became of a pod's limits: events, the annotation `unigpu.dev/limits-applied`, and the log."""

import logging
from collections.abc import Callable, Mapping

from deviceplugin import metrics, pods
from deviceplugin.limits import changes
from deviceplugin.limits.changes import Change
from deviceplugin.node_api import NodeApi
from deviceplugin.pods import Pod
from unigpu import errors, limits, logs, lowering, names
from unigpu.limits import Applied
from unigpu.units import GpuUuid, MiB
from unigpu_kube import events
from unigpu_kube.events import Severity
from unigpu_kube.objects import Ref

logger = logging.getLogger(__name__)

_COMPONENT = "unigpu-node-agent"


class LimitReports:
    """The API server's side of a change of limits; each thing is said once."""

    def __init__(self, api: NodeApi, node: str, count: Callable[[metrics.Change], None]) -> None:
        """`count` is called with each change that is in force or refused."""
        self._api = api
        self.count = count
        self._node = node
        self._refused: dict[str, str] = {}
        """By pod UID: the reason of the last refusal that an event was written for."""
        self._logged: dict[str, tuple[str, str]] = {}
        """By pod UID: the last problem that was logged."""

    def clear(self, uid: str) -> None:
        """Note that the pod's limits are in order: a later problem is said again."""
        self._refused.pop(uid, None)
        self._logged.pop(uid, None)

    def forget(self, uid: str) -> None:
        """Forget a pod that is gone."""
        self.clear(uid)

    def problem(self, pod: Pod, what: str, error: Exception) -> bool:
        """Log a problem; return False where it was logged before, for it is tried again every second."""
        if self._logged.get(pod.uid) == (what, str(error)):
            return False
        self._logged[pod.uid] = what, str(error)
        logs.event(logger, what, logging.ERROR, pod=pod.title, pod_uid=pod.uid, reason=error)
        return True

    async def refuse(self, pod: Pod, reason: str, changes_so_far: int) -> None:
        """Write an event that says why the pod's limits stay as they are."""
        if self._refused.get(pod.uid) == reason:
            return
        logs.event(logger, "limits refused", logging.WARNING, pod=pod.title, pod_uid=pod.uid, reason=reason)
        try:
            before = pod.applied()
            wanted = pod.annotations.get(names.ANNOTATION_LIMITS, "")
            name = changes.event_name(pod, names.EVENT_LIMITS_REFUSED, before, wanted, changes_so_far)
            await self._event(pod, name, names.EVENT_LIMITS_REFUSED, f"limits stay as they are: {reason}")
        except errors.UnigpuError as error:
            self.problem(pod, "event not written", error)
            return
        self._refused[pod.uid] = reason
        self.count("refused")

    async def changed(
        self, pod: Pod, change: Change, over: Mapping[str, Mapping[GpuUuid, MiB]], changes_so_far: int
    ) -> None:
        """Write an event that says what changes, and what programs hold `over` their new limits. Raises Unavailable."""
        in_use = [
            f"{container}: {text}"
            for container, (_, after) in change.containers.items()
            if (text := changes.in_use(after.shares, over.get(container, {})))
        ]
        record = lowering.record(pod.annotations)
        if record is not None:
            in_use.append(f"lowered to make room for pod {record.purpose}, and given back when there is room")
        reason = names.EVENT_LIMITS_CHANGED
        name = changes.event_name(pod, reason, change.before, limits.dump(change.wanted), changes_so_far)
        await self._event(pod, name, reason, "; ".join([change.text, *in_use]))

    async def annotate(self, pod: Pod, applied: Applied) -> Pod:
        """Write what is in force on the pod; return the pod as it is then. Raises Unavailable."""
        text = limits.dump_applied(applied)
        return pods.read(await self._api.annotate_pod(_ref(pod), {names.ANNOTATION_LIMITS_APPLIED: text}))

    async def _event(self, pod: Pod, name: str, reason: str, message: str) -> None:
        event = events.body(
            _ref(pod),
            kind=events.Kind.POD,
            name=name,
            reason=reason,
            message=message,
            component=_COMPONENT,
            instance=self._node,
            severity=Severity.NORMAL if reason == names.EVENT_LIMITS_CHANGED else Severity.WARNING,
        )
        await self._api.create_event(event)


def _ref(pod: Pod) -> Ref:
    return Ref(pod.namespace, pod.name, pod.uid)
