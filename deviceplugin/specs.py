"""The slots' CDI specs, in one of the container runtime's folders."""

import contextlib
import threading
from pathlib import Path

from deviceplugin import files
from unigpu import cdi, errors


class Specs:
    """All of ours in the folder; others' files are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()

    def write(self, slot: str, edits: cdi.Edits) -> None:
        """Say what the holder of the slot gets. Raises OSError."""
        with self._writing:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write(self.folder / cdi.file_name(slot), cdi.dump(slot, edits).encode(), durable=True)

    def remove(self, slot: str, owner: Path | None = None) -> bool:
        """Remove the slot's spec, with `owner` only while it is that container folder's; True where there was one."""
        file = self.folder / cdi.file_name(slot)
        with self._writing, contextlib.suppress(FileNotFoundError):
            if owner is None or self.owner(slot) == owner:
                file.unlink()
                return True
        return False

    def owner(self, slot: str) -> Path | None:
        """The container folder that the slot's spec belongs to; None without a readable spec."""
        try:
            return Path(cdi.folder_of((self.folder / cdi.file_name(slot)).read_text()))
        except (OSError, UnicodeDecodeError, errors.Malformed):
            return None

    def slots(self) -> list[str]:
        """Slots that have a spec."""
        try:
            return sorted(slot for file in self.folder.iterdir() if (slot := cdi.slot_of(file.name)) is not None)
        except FileNotFoundError:
            return []
