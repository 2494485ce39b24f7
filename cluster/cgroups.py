"""The cluster's own branch in each hierarchy of control groups, version 1 and version 2.

/unigpu-NAME-MARK               of one cluster
/unigpu-NAME-MARK/UNIT          of one unit; the kubelet of a node puts the pods below it
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
    """The cluster's control group."""
    return f"/unigpu-{layout.name}-{layout.mark}"


def unit_group(layout: settings.Layout, unit: str) -> str:
    """A unit's control group, for a node the root of its pods."""
    return f"{branch(layout)}/{unit}"


def hierarchies(mounts: pathlib.Path = pathlib.Path("/proc/self/mountinfo")) -> list[tuple[pathlib.Path, str]]:
    """Where the hierarchies are mounted, each with its kind (cgroup or cgroup2).

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
            "No control groups are mounted at /sys/fs/cgroup; mount them, Kubernetes needs them."
        )
    return found


def make(layout: settings.Layout, unit: str) -> tuple[str, ...]:
    """Makes a unit's control groups; returns the folders that its processes are to join.

    What a unit that was killed has left below is removed first: a kubelet looks at every group of pods that it finds,
    and takes seconds for each whose container is gone.
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
            # A cpuset of version 1 begins empty, and takes no process until it has processors and memory.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if kind == "cgroup" and (group / file).exists() and not (group / file).read_text().strip():
                    (group / file).write_text((group.parent / file).read_text())
        folders.append(str(group))
    return tuple(folders)


def _prune(top: pathlib.Path) -> None:
    """Removes the groups that hold nobody."""
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):  # it holds somebody
            pathlib.Path(folder).rmdir()


def _hand_down(group: pathlib.Path) -> None:
    """Lets the children of a version 2 group use the controllers that it has."""
    for controller in (group / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def join(folders: Iterable[str]) -> None:
    """Moves the caller, and with it what it will start, into the control groups."""
    for folder in folders:
        (pathlib.Path(folder) / "cgroup.procs").write_text(str(os.getpid()))


def exists(layout: settings.Layout) -> bool:
    """Whether there is a control group of the cluster."""
    return any((place / branch(layout).strip("/")).exists() for place, _ in hierarchies())


def members(layout: settings.Layout) -> set[int]:
    """The processes that are in any of the cluster's control groups."""
    found: set[int] = set()
    for place, _ in hierarchies():
        for folder, _, _ in os.walk(place / branch(layout).strip("/")):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (pathlib.Path(folder) / "cgroup.procs").read_text().split())
    return found


def remove(layout: settings.Layout, patience: float = 20.0) -> None:
    """Removes the cluster's control groups, waiting for the kernel to bury what was killed in them.

    Only processes that the cluster started are ever in them; one that is left over is killed. Raises StepFailed when
    a group can't be removed within `patience` seconds.
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
                raise errors.StepFailed(f"The control group {top} can't be removed; see its cgroup.procs.")
            time.sleep(0.05)
