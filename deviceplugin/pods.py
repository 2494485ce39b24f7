"""Reads pods as the API server has them: their annotations, and how far their containers have come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from unigpu import allocations, documents, errors, limits, names, requests
from unigpu_kube import objects


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a container has come, by its status. Times are whole seconds since the epoch."""

    running_since: float | None = None
    ended_at: float | None = None
    """When it last ended; None: it never did."""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod."""

    namespace: str
    name: str
    uid: str
    version: int = 0
    """resourceVersion: the higher of two is the newer. 0 where it has none."""
    node: str = ""
    finished: bool = False
    """Succeeded or failed: none of its containers will ever run again."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] = ()
    """Names of its containers in the order in which they start: init containers, then the others."""
    init: frozenset[str] = frozenset()
    """Those that end before the main ones start; sidecars aren't among them."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """By container; those without a status are absent."""
    sandbox_lost: float | None = None
    """When its sandbox was last lost; None where the status doesn't show it. In a new sandbox the pod starts again with
    its init containers."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Names of its containers by the runtime's ID, as far as the status shows them; ephemeral ones too."""
    env: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """Variables that the author set, by container; None: the value comes from elsewhere."""
    owner: objects.Owner | None = None
    """The controller that will make the next pod when this one is gone."""

    @property
    def title(self) -> str:
        """Namespace and name, for people."""
        return f"{self.namespace}/{self.name}"

    def allocation(self) -> allocations.Allocation:
        """Return what the scheduler chose.

        Raises Denied where it chose nothing, Malformed where the annotation can't be read.
        """
        return allocations.load(self._annotation(names.ANNOTATION_ALLOCATION, "was placed by"))

    def request(self) -> requests.PodRequest:
        """Return the request as the webhook translated it.

        Raises Denied where the webhook didn't see the pod, Malformed where the annotation can't be read.
        """
        return requests.load(
            self._annotation(names.ANNOTATION_REQUEST, "was admitted while unigpu's webhook served, by")
        )

    def wanted(self, request: requests.PodRequest) -> dict[str, limits.Limit]:
        """Return the limits that people set for its containers. Raises Malformed."""
        return limits.from_annotations(self.annotations, request.containers.keys())

    def applied(self) -> limits.Applied:
        """Return the limits that a node agent put in force. Raises Malformed."""
        return limits.load_applied(self.annotations.get(names.ANNOTATION_LIMITS_APPLIED))

    def _annotation(self, name: str, missing: str) -> str:
        text = self.annotations.get(name)
        if text is None:
            raise errors.Denied(
                f"pod {self.title} has no annotation {name}: GPU shares are given only to a pod that {missing} "
                f"{names.SCHEDULER_NAME}; create the pod again without spec.nodeName and with that scheduler"
            )
        return text


def read(document: Mapping[str, Any]) -> Pod:
    """Return the pod that the API server's JSON describes.

    Raises Malformed where it has no name or UID, or isn't of the form of a pod.
    """
    try:
        metadata = document.get("metadata") or {}
        spec = document.get("spec") or {}
        status = document.get("status") or {}
        early: list[dict[str, Any]] = spec.get("initContainers") or []
        late: list[dict[str, Any]] = spec.get("containers") or []
        statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        ephemeral = status.get("ephemeralContainerStatuses") or []
        return Pod(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            version=_version(metadata.get("resourceVersion", "")),
            node=spec.get("nodeName", ""),
            finished=status.get("phase") in ("Succeeded", "Failed"),
            annotations=metadata.get("annotations") or {},
            order=tuple(container["name"] for container in (*early, *late)),
            init=frozenset(container["name"] for container in early if container.get("restartPolicy") != "Always"),
            progress={item["name"]: _progress(item) for item in statuses},
            sandbox_lost=_sandbox_lost(status),
            ids={
                item["containerID"].rpartition("/")[2]: item["name"]
                for item in (*statuses, *ephemeral)
                if item.get("containerID")
            },
            env={
                container["name"]: {
                    variable["name"]: None if variable.get("valueFrom") else documents.text(variable.get("value") or "")
                    for variable in container.get("env") or ()
                }
                for container in (*early, *late)
            },
            owner=objects.controller(document),
        )
    except documents.INVALID as error:
        reason = documents.brief(error)
        raise errors.Malformed(f"the API server's pod can't be read: {reason}") from error


def read_all(documents: Iterable[Mapping[str, Any]]) -> tuple[list[Pod], frozenset[str]]:
    """Return the pods that the API server's JSON describes, and the UIDs of those that can't be read."""
    found, unreadable = [], set()
    for document in documents:
        try:
            found.append(read(document))
        except errors.Malformed:
            unreadable.add(objects.ref(document).uid)
    return found, frozenset(unreadable)


def _version(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _sandbox_lost(status: Mapping[str, Any]) -> float | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodReadyToStartContainers" and condition["status"] == "False":
            return _time(condition.get("lastTransitionTime"))
    return None


def _progress(item: Mapping[str, Any]) -> Progress:
    state, last = item.get("state") or {}, item.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated")
    running = state.get("running")
    return Progress(
        running_since=_time(running.get("startedAt")) if running else None,
        ended_at=_time(ended.get("finishedAt")) if ended else None,
        exit_code=int(ended.get("exitCode", 0)) if ended else 0,
    )


def _time(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
