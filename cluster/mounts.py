"""Set up the mount namespace of a unit."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from cluster import linux, units


def setup_mounts(mounts: Iterable[units.Mount]) -> None:
    """Detach the caller's mount namespace from the host's, and create the mounts in it, in order."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    # Shared within the unit: volumes that a container mounts must appear in the kubelet and in other containers.
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SHARED)
    linux.mount("proc", "/proc", "proc")
    for entry in mounts:
        place(entry)


def place(entry: units.Mount) -> None:
    """Create one mount."""
    target = pathlib.Path(entry.target)
    if entry.overlay:
        # Two lower layers and no upper one: the host's folder plus a few empty folders, read-only.
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
