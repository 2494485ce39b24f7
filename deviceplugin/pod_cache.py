"""The node's pods as they were last observed. Only this module changes them; everybody else reads."""

import dataclasses
import logging
from collections.abc import Callable, Iterable

from deviceplugin.pods import Pod
from unigpu import logs

logger = logging.getLogger(__name__)


class PodCache:
    """Pods by UID, the newest version of each, and when each pod's sandbox was last lost."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self.version = 0
        """Another one after each change."""
        self._sandbox_lost: dict[str, float] = {}
        """By UID. Kept apart from the pod: its status forgets the loss as soon as a new sandbox is there."""
        self._on_annotations: list[Callable[[str], None]] = []
        self._on_gone: list[Callable[[str], None]] = []

    def subscribe(self, annotations: Callable[[str], None], gone: Callable[[str], None]) -> None:
        """Call `annotations` with a pod's UID when its annotations change or it is new, `gone` when it is forgotten."""
        self._on_annotations.append(annotations)
        self._on_gone.append(gone)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def get(self, uid: str | None) -> Pod | None:
        """Return the pod with that UID, None where it isn't known."""
        return self._pods.get(uid or "")

    def uids(self) -> frozenset[str]:
        """Return the UIDs of all known pods."""
        return frozenset(self._pods)

    def all(self) -> list[Pod]:
        """Return all known pods."""
        return list(self._pods.values())

    def observe(self, pod: Pod) -> bool:
        """Take the pod in; return False, and change nothing, where a newer version of it is known."""
        known = self._pods.get(pod.uid)
        if known is not None and known.version > pod.version:
            return False
        self._pods[pod.uid] = pod
        self.version += 1
        self.note_sandbox(pod)
        if known is None or known.annotations != pod.annotations:
            for call in self._on_annotations:
                call(pod.uid)
        return True

    def replace(self, present: Iterable[Pod]) -> None:
        """Forget every pod but these, and observe these."""
        living = {pod.uid: pod for pod in present}
        for uid in self._pods.keys() - living.keys():
            self.forget(uid)
        for pod in living.values():
            self.observe(pod)
        self._sandbox_lost = {uid: since for uid, since in self._sandbox_lost.items() if uid in self._pods}

    def forget(self, uid: str) -> None:
        """Forget a pod that is gone or has finished."""
        self._pods.pop(uid, None)
        self.version += 1
        self._sandbox_lost.pop(uid, None)
        for call in self._on_gone:
            call(uid)

    def note_sandbox(self, pod: Pod) -> None:
        """Remember when the pod's sandbox was lost, if its status says so."""
        if pod.sandbox_lost is None or pod.sandbox_lost == self._sandbox_lost.get(pod.uid):
            return
        self._sandbox_lost[pod.uid] = pod.sandbox_lost
        if any(one.running_since is not None or one.ended_at is not None for one in pod.progress.values()):
            logs.event(logger, "sandbox lost", pod=pod.title, pod_uid=pod.uid)

    def with_sandbox(self, pod: Pod) -> Pod:
        """Return the pod with the latest loss of its sandbox, which its own status may have forgotten."""
        self.note_sandbox(pod)
        return dataclasses.replace(pod, sandbox_lost=self._sandbox_lost.get(pod.uid))
