"""The slots' CDI specs, in one of the container runtime's folders."""

import contextlib
import threading
import time
from pathlib import Path

from deviceplugin.store import files
from unigpu import cdi, errors

_NOTICED = 1.0
"""Seconds after which a runtime has noticed that a spec is gone: ten times what was measured while a hundred specs
changed at once on a busy machine."""


class CdiStore:
    """All of ours in the folder; others' files are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        self._gone: dict[str, tuple[float, Path | None]] = {}

    def write(self, slot: str, edits: cdi.Edits) -> None:
        """Say what the holder of the slot gets. What is said already isn't said again: the runtime would read all specs
        anew. Raises OSError."""
        self._put(cdi.file_name(slot), cdi.dump(slot, edits))

    def write_common(self, edits: cdi.Edits) -> None:
        """Say what all containers get, likewise. Raises OSError."""
        self._put(cdi.COMMON_FILE, cdi.dump_common(edits))

    def common(self) -> str:
        """What is said of that now; nothing without a file."""
        return self._text(cdi.COMMON_FILE)

    def remove(self, slot: str, owner: Path | None = None) -> bool:
        """Remove the slot's spec, with `owner` only while it is that container folder's; True where there was one."""
        with self._writing, contextlib.suppress(FileNotFoundError):
            present = self.owner(slot)
            if owner is None or present == owner:
                (self.folder / cdi.file_name(slot)).unlink()
                self._gone[slot] = time.monotonic(), present
                return True
        return False

    def stale(self, slot: str, owner: Path) -> float:
        """Seconds for which a runtime may still know the slot's spec as that of another container than `owner`."""
        with self._writing:
            since, before = self._gone.get(slot, (0.0, owner))
            return 0.0 if before == owner else max(0.0, since + _NOTICED - time.monotonic())

    def _put(self, name: str, text: str) -> None:
        with self._writing:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._text(name) != text:
                files.write(self.folder / name, text.encode(), durable=True)

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def owner(self, slot: str) -> Path | None:
        """The container folder that the slot's spec belongs to; None without a readable spec."""
        try:
            return Path(cdi.folder_of(self._text(cdi.file_name(slot))))
        except errors.Malformed:
            return None

    def slots(self) -> list[str]:
        """Slots that have a spec."""
        try:
            return sorted(slot for file in self.folder.iterdir() if (slot := cdi.slot_of(file.name)) is not None)
        except FileNotFoundError:
            return []
