"""Usage files of removed containers that a program still has open for writing.

A program of another pod can have been passed a descriptor. If the file had no name any more, nobody would see how much
of the disk that program makes it take. So it keeps one here, out of every container's reach, until it is closed.
"""

import contextlib
from pathlib import Path

from unigpu_node import usage_file

_NOBODY = 0o600
"""Only root opens it again, by way of a descriptor that can't write."""


class Remnants:
    """A folder of such files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, file: Path) -> bool:
        """Move a usage file here if a program has it open for writing; return whether one has."""
        try:
            if not _held(file):
                return False
            file.chmod(_NOBODY)
            status = file.stat()
            self._folder.mkdir(exist_ok=True)
            file.rename(self._folder / f"{file.parent.parent.name}.{file.parent.name}.{status.st_ino}")
        except OSError:
            return False
        return True

    def mend(self) -> dict[str, int]:
        """Cut the files back, and remove those that nobody writes any more; return the bytes given back, by the name of
        each file that stays."""
        found: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            for file in sorted(self._folder.iterdir()):
                with contextlib.suppress(OSError):
                    if _held(file):
                        found[file.name] = usage_file.cut(file)
                    else:
                        file.unlink()
        return found


def _held(file: Path) -> bool:
    try:
        return usage_file.open_to_write(file)
    except BlockingIOError:
        return True  # a program has a lease, for which it has to have it open
