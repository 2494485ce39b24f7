"""Which pods' folders may hold others than before, without a look into each of them.

The root and the folders of pods and containers are watched. A folder that can't be watched counts as changed each time,
and every few minutes all of them do: a file system that tells nothing then costs minutes, not the truth.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from unigpu_node.folder_watch import FolderWatch

_ROOT = ""
"""Name of the root's watch; no pod has it."""
_WHOLE = 300.0
"""Seconds after which all folders are looked into, whatever the kernel said."""


class PodFolders:
    """Pods' folders under one root, `<pod UID>/<container>/`."""

    def __init__(
        self, root: Path, watch: FolderWatch | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without a `watch`, each folder counts as changed each time."""
        self._root, self._watch, self._clock = root, watch, clock
        self._known: set[str] = set()
        self._unwatched = {_ROOT}
        self._whole_at = 0.0

    def changed(self) -> set[str]:
        """Return the pods in whose folders a file or folder may have come, gone or been replaced since the last call.

        Raises OSError where the root can't be listed; one that isn't there has no folders.
        """
        found = self._watch.changed() if self._watch is not None else None
        if found is None or self._clock() >= self._whole_at:
            found = {_ROOT, *self._known}
            self._whole_at = self._clock() + _WHOLE
        found |= self._unwatched
        if _ROOT in found:
            found |= self._look()
            found.discard(_ROOT)
        for pod in found:
            self._note(pod, watched=self._watch_pod(f"{self._root}/{pod}", pod))
        return found

    def _look(self) -> set[str]:
        """List the root; return the pods that came or went."""
        self._note(_ROOT, watched=self._watched(self._root, _ROOT))
        try:
            present = set(os.listdir(self._root))  # noqa: PTH208
        except FileNotFoundError:
            present = set()
        except BaseException:
            self._note(_ROOT, watched=False)  # what is there isn't known: the next call looks again
            raise
        differing = present ^ self._known
        self._known = present
        return differing

    def _watch_pod(self, place: str, pod: str) -> bool:
        """Watch the folders of a pod that is there; return whether all of them can be."""
        if pod not in self._known:
            return True
        if not self._watched(place, pod):
            return False
        try:
            containers = os.listdir(place)  # noqa: PTH208
        except OSError:
            return True  # it has just gone, which the root's watch says
        # Something else than a folder can't be watched, and holds no grant.
        return all(
            self._watched(f"{place}/{name}", pod) or not os.path.isdir(f"{place}/{name}")  # noqa: PTH112
            for name in containers
        )

    def _watched(self, folder: str | Path, name: str) -> bool:
        return self._watch is not None and self._watch.add(folder, name)

    def _note(self, name: str, *, watched: bool) -> None:
        (self._unwatched.discard if watched else self._unwatched.add)(name)
