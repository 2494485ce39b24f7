"""The cluster's control groups, in every hierarchy of version 1 and version 2.

/unigpu-NAME-MARK               one cluster
/unigpu-NAME-MARK/UNIT          one unit; the kubelet of a node creates the pods' groups below it
/unigpu-NAME-MARK/UNIT/system   the unit's own programs (in version 2 only leaves hold processes)
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Iterable

from cluster import errors, settings

MOUNT = pathlib.Path("/sys/fs/cgroup")


def branch(layout: settings.Layout) -> str:
    """Return the cluster's control group."""
    return f"/unigpu-{layout.name}-{layout.mark}"


def unit_group(layout: settings.Layout, unit: str) -> str:
    """Return a unit's control group; for a node, its pods are below it."""
    return f"{branch(layout)}/{unit}"


def hierarchies(mounts: pathlib.Path = pathlib.Path("/proc/self/mountinfo")) -> list[tuple[pathlib.Path, str]]:
    """Return the mount points of the hierarchies, each with its kind (cgroup or cgroup2).

    Raises PreflightError when there are none.
    """
    found = []
    for line in mounts.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split()[0]
        place = pathlib.Path(before.split()[4])
        if kind in ("cgroup", "cgroup2") and (place == MOUNT or place.parent == MOUNT):
            found.append((place, kind))
    if not found:
        raise errors.PreflightError(
            "Kubernetes needs control groups, and none are mounted at /sys/fs/cgroup: mount them."
        )
    return found


def make(layout: settings.Layout, unit: str) -> tuple[str, ...]:
    """Create a unit's control groups; return the folders that its processes must join.

    Groups that a killed unit left behind are removed first: a kubelet inspects every pod group that it finds, and
    spends seconds on each one whose container is gone.
    """
    folders = []
    for place, kind in hierarchies():
        _prune(place / unit_group(layout, unit).strip("/"))
        group = place
        for part in (branch(layout).strip("/"), unit, "system"):
            if kind == "cgroup2":
                _hand_down(group)
            group = group / part
            group.mkdir(exist_ok=True)
            # A version 1 cpuset starts empty, and accepts no process until it has CPUs and memory nodes.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if kind == "cgroup" and (group / file).exists() and not (group / file).read_text().strip():
                    (group / file).write_text((group.parent / file).read_text())
        folders.append(str(group))
    return tuple(folders)


def _prune(top: pathlib.Path) -> None:
    """Remove the groups without processes."""
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):  # it has processes
            pathlib.Path(folder).rmdir()


def _hand_down(group: pathlib.Path) -> None:
    """Enable all controllers of a version 2 group for its children."""
    for controller in (group / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def join(folders: Iterable[str]) -> None:
    """Move the calling process, and so all its future children, into the control groups."""
    for folder in folders:
        (pathlib.Path(folder) / "cgroup.procs").write_text(str(os.getpid()))


def exists(layout: settings.Layout) -> bool:
    """Return whether the cluster has a control group."""
    return any((place / branch(layout).strip("/")).exists() for place, _ in hierarchies())


def members(layout: settings.Layout) -> set[int]:
    """Return the processes in any of the cluster's control groups."""
    found: set[int] = set()
    for place, _ in hierarchies():
        for folder, _, _ in os.walk(place / branch(layout).strip("/")):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (pathlib.Path(folder) / "cgroup.procs").read_text().split())
    return found


def remove(layout: settings.Layout, patience: float = 20.0) -> None:
    """Remove the cluster's control groups; wait until the kernel has reaped the processes killed in them.

    The groups only ever contain processes that the cluster started, so remaining ones are killed. Raises StepFailed
    when a group can't be removed within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    for place, _ in hierarchies():
        top = place / branch(layout).strip("/")
        while top.exists():
            _prune(top)
            if not top.exists():
                break
            for pid in members(layout):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise errors.StepFailed(
                    f"Can't remove the control group {top}: it still has processes, listed in its cgroup.procs."
                )
            time.sleep(0.05)
