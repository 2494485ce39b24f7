"""Run the commands that change a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from cluster import settings


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that changes the cluster's folder or network; return its exit status and output.

    The command inherits the cluster's lock, the only descriptor that is inheritable: if `up` is killed, its commands
    continue, and a `down` must not remove what they are still writing.
    """
    return subprocess.run(
        words, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=settings.ROOT, close_fds=False
    )
