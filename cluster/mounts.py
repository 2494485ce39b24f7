"""The mount namespace of a unit."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from cluster import linux, units


def setup_mounts(mounts: Iterable[units.Mount]) -> None:
    """Cuts the caller's mount namespace off from the machine's and makes the mounts in it, in order."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    # Shared among themselves: volumes that a container mounts are to appear in the kubelet's and in other containers.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SHARED)
    linux.mount("proc", "/proc", "proc")
    for entry in mounts:
        place(entry)


def place(entry: units.Mount) -> None:
    """Makes one mount."""
    target = pathlib.Path(entry.target)
    if entry.overlay:
        # Two lower layers and no upper: the machine's folder with a few empty folders added, and nothing to write to.
        linux.mount("overlay", entry.target, "overlay", linux.MS_RDONLY, f"lowerdir={entry.overlay}:{entry.target}")
    elif entry.source:
        if not target.exists():
            if pathlib.Path(entry.source).is_dir():
                target.mkdir(parents=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
        linux.bind(entry.source, entry.target, read_only=entry.read_only)
    else:
        linux.mount("tmpfs", entry.target, "tmpfs", options="mode=755")
