"""Find the pod and the container of a process in the text of its `/proc/<pid>/cgroup`, for cgroup v1 and v2, and of a
group by its folder's name.

The kubelet names a pod's group by the pod's UID, with either cgroup driver; the runtime adds one for each container:

    cgroupfs   /kubepods/burstable/pod<UID>/<container ID>
    systemd    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID>.slice/cri-containerd-<ID>.scope

In a systemd name the UID's dashes are underscores. A reader in a cgroup namespace of its own sees paths that begin with
`/..`, and the same names behind. A container may create groups below its own and give them any name, so only the first
name that fits counts, from the root down. Sources: cgroups(7), cgroup_namespaces(7), and the kubelet's
https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/cm/cgroup_manager_linux.go
"""

import re
from dataclasses import dataclass

_UID = r"[0-9a-f]{8}(?P<dash>[-_])(?:[0-9a-f]{4}(?P=dash)){3}[0-9a-f]{12}|[0-9a-f]{32}"
"""A pod's UID; that of a pod from a file on the node is a hash without dashes."""
_POD = re.compile(rf"(?:[a-z0-9.-]+-)?pod(?P<uid>{_UID})(?:\.slice)?(?::[a-z-]+:(?P<id>[0-9a-f]{{64}}))?")
"""The pod's group; a runtime and a kubelet that disagree on the driver put slice, prefix and ID into one name."""
_CONTAINER = re.compile(r"(?:[a-z]+(?:-[a-z]+)*-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_ROOT = re.compile(r"(?:[A-Za-z0-9_.-]+-)?kubepods(?:\.slice)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs."""

    pod_uid: str
    container_id: str = ""
    """The runtime's ID; empty: directly in the pod's group, or in a group that no runtime known here creates."""


def place(text: str) -> Place | None:
    """Return the pod and container in the text of `/proc/<pid>/cgroup`; None for a process outside every pod."""
    for line in text.splitlines():
        _, _, path = line.partition(":")[2].partition(":")
        found = _in_path(path)
        if found is not None:
            return found
    return None


def pod_uid(name: str) -> str | None:
    """Return the UID of the pod whose group has this name; None where it isn't a pod's."""
    pod = _POD.fullmatch(name)
    return pod["uid"].replace("_", "-") if pod is not None and not pod["id"] else None


def container_id(name: str) -> str | None:
    """Return the runtime's ID of the container whose group has this name, below its pod's; None where it has none."""
    container = _CONTAINER.fullmatch(name)
    return container["id"] if container is not None else None


def is_root(name: str) -> bool:
    """Return whether a kubelet's pods are in the group of this name, or below it."""
    return _ROOT.fullmatch(name) is not None


def _in_path(path: str) -> Place | None:
    parts = path.split("/")
    for position, part in enumerate(parts):
        pod = _POD.fullmatch(part)
        if pod is None:
            continue
        uid = pod["uid"].replace("_", "-")
        if pod["id"]:
            return Place(uid, pod["id"])
        container = _CONTAINER.fullmatch(parts[position + 1]) if position + 1 < len(parts) else None
        return Place(uid, container["id"] if container is not None else "")
    return None
