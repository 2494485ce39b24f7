"""The tree of containers' folders: which there are now."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from exporter.container import Container
from unigpu import errors, grants, logs

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Pod UID and container, as the folders are named."""
Stamp = tuple[int, int]
"""What tells one grant file from the next: inode and time of change, ns."""


class Folders:
    """Containers by their folders. One whose grant isn't there yet is no container, and neither is one that is gone."""

    def __init__(self, root: Path, open_files: int = 256) -> None:
        """`open_files`: how many files may stay open from one scrape to the next."""
        self._root = root
        self._open_files = open_files
        self._containers: dict[Key, tuple[Stamp, Container]] = {}
        self._broken: dict[Key, tuple[Stamp, str]] = {}

    @property
    def broken(self) -> Iterator[Key]:
        """Folders whose grant can't be read."""
        return iter(self._broken)

    def close(self) -> None:
        """Close all files."""
        for _, container in self._containers.values():
            container.close()
        self._containers.clear()

    def refresh(self) -> bool:
        """Look which folders there are; whether that changed anything.

        Raises OSError where the root can't be listed; one that isn't there has no containers.
        """
        found = dict(self._grants())
        gone = [key for key, (stamp, _) in self._containers.items() if found.get(key) != stamp]
        before = {key: self._containers.pop(key)[1] for key in gone}
        for container in before.values():
            container.close()
        mended = [key for key, (stamp, _) in self._broken.items() if found.get(key) != stamp]
        for key in mended:
            del self._broken[key]
        new = [key for key in found if key not in self._containers and key not in self._broken]
        for key in new:
            self._open(key, found[key], before.get(key))
        return bool(gone or mended or new)

    def containers(self) -> list[Container]:
        """All of them."""
        return [container for _, container in self._containers.values()]

    def _grants(self) -> Iterator[tuple[Key, Stamp]]:
        # Strings rather than Path objects: this runs for each container on each scrape.
        try:
            pods = os.listdir(self._root)  # noqa: PTH208
        except FileNotFoundError:
            return
        for pod in pods:
            place = f"{self._root}/{pod}"
            try:
                names = os.listdir(place)  # noqa: PTH208
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                try:
                    status = os.stat(f"{place}/{name}/{grants.GRANT_FILE}")  # noqa: PTH116
                except (FileNotFoundError, NotADirectoryError):
                    continue
                yield (pod, name), (status.st_ino, status.st_mtime_ns)

    def _open(self, key: Key, stamp: Stamp, before: Container | None) -> None:
        folder = Path(grants.folder(self._root, *key))
        try:
            grant = grants.load((folder / grants.GRANT_FILE).read_text())
            if (grant.pod_uid, grant.container) != key:
                raise errors.Malformed(f"grant is for container {grant.container} of pod {grant.pod_uid}")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError, errors.Malformed) as error:
            self._broken[key] = stamp, str(error)
            logs.event(logger, "grant can't be read", logging.WARNING, folder=folder, error=error)
        else:
            keep = len(self._containers) < self._open_files
            same = before is not None and [share.gpu for share in before.grant.shares] == [
                share.gpu for share in grant.shares
            ]
            taken = before.taken if before is not None and same else ()
            self._containers[key] = stamp, Container(folder, grant, stays_open=keep, taken=taken)
