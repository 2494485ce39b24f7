"""The containers' folders that there are now."""

import logging
from collections.abc import Iterator
from pathlib import Path

from exporter.container import Container
from unigpu import errors, logs
from unigpu_node import containers
from unigpu_node.containers import Key, Stamp
from unigpu_node.folder_watch import FolderWatch
from unigpu_node.pod_folders import PodFolders

logger = logging.getLogger(__name__)


class Folders:
    """Containers by their folders. One whose grant isn't there yet is no container, and neither is one that is gone."""

    def __init__(self, root: Path, node: str = "", open_files: int = 256, watch: FolderWatch | None = None) -> None:
        """`node`: the label. `open_files`: how many files may stay open from one scrape to the next.

        `watch`: by it, folders in which nothing came or went aren't listed; it stays its owner's to close.
        """
        self._root = root
        self._pods = PodFolders(root, watch)
        self._node = node
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
        """Read which folders there are; return whether that changed anything.

        Raises OSError where the root can't be listed; one that isn't there has no containers.
        """
        pods = self._pods.changed()
        if not pods:
            return False
        found = {key: stamp for pod in sorted(pods) for key, stamp in containers.pod_stamps(self._root, pod)}
        gone = [key for key, (stamp, _) in self._containers.items() if key[0] in pods and found.get(key) != stamp]
        before = {key: self._containers.pop(key)[1] for key in gone}
        for container in before.values():
            container.close()
        mended = [key for key, (stamp, _) in self._broken.items() if key[0] in pods and found.get(key) != stamp]
        for key in mended:
            del self._broken[key]
        new = []
        for key in found:
            if (known := self._containers.get(key)) is not None:
                known[1].touched = True
            elif key not in self._broken:
                new.append(key)
        for key in new:
            self._open(key, found[key], before.get(key))
        return bool(gone or mended or new)

    def containers(self) -> list[Container]:
        """Return all of them."""
        return [container for _, container in self._containers.values()]

    def _open(self, key: Key, stamp: Stamp, before: Container | None) -> None:
        folder = containers.folder(self._root, key)
        try:
            grant = containers.read(self._root, key).grant
        except FileNotFoundError:
            return
        except (OSError, errors.Malformed) as error:
            self._broken[key] = stamp, str(error)
            pod_uid, name = key
            logs.event(
                logger,
                "grant can't be read",
                logging.WARNING,
                pod="unknown",
                pod_uid=pod_uid,
                container=name,
                folder=folder,
                error=error,
            )
        else:
            keep = len(self._containers) < self._open_files
            same = before is not None and [share.gpu for share in before.grant.shares] == [
                share.gpu for share in grant.shares
            ]
            taken = before.taken if before is not None and same else ()
            self._containers[key] = stamp, Container(folder, grant, self._node, stays_open=keep, taken=taken)
