"""The image of a pod's first process."""

from __future__ import annotations

from cluster import stamps
from cluster.build import SOURCES


def name() -> str:
    """Return its name, which changes with its source."""
    return f"localhost/pause:{stamps.digest([SOURCES / 'pause.c'])}"
