"""The slots' CDI specs, in one of the container runtime's folders.

Format and folders: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import threading
import time
from pathlib import Path

from deviceplugin.store import files
from unigpu import cdi, errors
from unigpu_node import files as node_files

_NOTICED = 1.0
"""Seconds after which a runtime has noticed that a spec is gone: ten times the longest measured delay, with a hundred
specs changing at once on a busy machine."""


class CdiStore:
    """unigpu's specs in the folder; other vendors' files are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        self._gone: dict[str, tuple[float, Path | None]] = {}

    def write(self, slot: str, edits: cdi.Edits) -> None:
        """Write what the holder of the slot gets, unless the file says so already: each change makes runtimes read all
        specs again. Raises Unavailable."""
        self._put(cdi.file_name(slot), cdi.dump(slot, edits))

    def write_common(self, edits: cdi.Edits) -> None:
        """Write what all containers get, likewise. Raises Unavailable."""
        self._put(cdi.COMMON_FILE, cdi.dump_common(edits))

    def common(self) -> str:
        """Return the text of the common spec; empty without a file."""
        return self._text(cdi.COMMON_FILE)

    def remove(self, slot: str, owner: Path | None = None) -> bool:
        """Remove the slot's spec; return whether there was one. With `owner`, only while it is that container folder's.

        Raises Unavailable.
        """
        file = self.folder / cdi.file_name(slot)
        with self._writing, files.reporting("remove", file):
            present = self.owner(slot)
            if (owner is None or present == owner) and file.exists():
                file.unlink(missing_ok=True)
                self._gone[slot] = time.monotonic(), present
                return True
        return False

    def stale(self, slot: str, owner: Path) -> float:
        """Return for how many seconds a runtime may still know the slot's spec as another container's than `owner`."""
        with self._writing:
            since, before = self._gone.get(slot, (0.0, owner))
            return 0.0 if before == owner else max(0.0, since + _NOTICED - time.monotonic())

    def _put(self, name: str, text: str) -> None:
        with self._writing, files.reporting("write", self.folder / name):
            if self._text(name) != text:
                self.folder.mkdir(parents=True, exist_ok=True)
                node_files.write(self.folder / name, text.encode(), durable=True)

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def owner(self, slot: str) -> Path | None:
        """Return the container folder that the slot's spec belongs to; None without a readable spec."""
        try:
            return Path(cdi.folder_of(self._text(cdi.file_name(slot))))
        except errors.Malformed:
            return None

    def slots(self) -> list[str]:
        """Return the slots that have a spec."""
        try:
            return sorted(slot for file in self.folder.iterdir() if (slot := cdi.slot_of(file.name)) is not None)
        except OSError:
            return []
