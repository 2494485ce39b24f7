"""Containers' folders under one root, `<pod UID>/<container>/`, and the grant in each."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unigpu import errors, grants
from unigpu.grants import Grant

Key = tuple[str, str]
"""Pod UID and container, as the folders are named."""
Stamp = tuple[int, int]
"""Tells one grant file from the next: inode, and time of change in ns."""


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant as it lies in its folder."""

    grant: Grant
    prepared: float
    """When the container was last prepared, seconds since the epoch."""


def folder(root: Path, key: Key) -> Path:
    """Return the container's folder, there or not."""
    return Path(grants.folder(root, *key))


def keys(root: Path) -> Iterator[Key]:
    """Yield pod UID and container of each folder, sorted. A root that isn't there has none."""
    with contextlib.suppress(FileNotFoundError):
        for pod in sorted(root.iterdir()):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for container in sorted(pod.iterdir()):
                    yield pod.name, container.name


def stamps(root: Path) -> Iterator[tuple[Key, Stamp]]:
    """Yield each folder that has a grant, and the grant file's stamp.

    Raises OSError where the root can't be listed; one that isn't there has none.
    """
    with contextlib.suppress(FileNotFoundError):
        for pod in os.listdir(root):  # noqa: PTH208
            yield from pod_stamps(root, pod)


def pod_stamps(root: Path, pod: str) -> Iterator[tuple[Key, Stamp]]:
    """Yield each folder of a pod that has a grant, and the grant file's stamp. Raises OSError.

    It is made for many containers and frequent calls, so it works with texts rather than Path objects.
    """
    place = f"{root}/{pod}"
    try:
        names = os.listdir(place)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        try:
            status = os.stat(f"{place}/{name}/{grants.GRANT_FILE}")  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield (pod, name), (status.st_ino, status.st_mtime_ns)


def read(root: Path, key: Key) -> StoredGrant:
    """Return the grant in a folder.

    Raises OSError, FileNotFoundError among them; Malformed where it isn't one, or is another container's.
    """
    file = folder(root, key) / grants.GRANT_FILE
    try:
        grant = grants.load(file.read_text())
    except UnicodeDecodeError as error:
        raise errors.Malformed(f"grant is not UTF-8 text: {error}") from error
    if (grant.pod_uid, grant.container) != key:
        raise errors.Malformed(f"grant is for container {grant.container} of pod {grant.pod_uid}")
    return StoredGrant(grant, file.stat().st_mtime)


def read_all(root: Path) -> tuple[dict[Key, StoredGrant], dict[Key, str]]:
    """Return every grant that can be read, and why each of the others can't.

    A folder without a readable grant is one whose container wasn't started.
    """
    found: dict[Key, StoredGrant] = {}
    unreadable: dict[Key, str] = {}
    for key in keys(root):
        try:
            found[key] = read(root, key)
        except (OSError, errors.Malformed) as error:
            unreadable[key] = str(error)
    return found, unreadable


def by_pod(found: dict[Key, StoredGrant]) -> dict[str, list[StoredGrant]]:
    """Return the grants of each pod, by its UID."""
    pods: dict[str, list[StoredGrant]] = {}
    for (uid, _), stored in found.items():
        pods.setdefault(uid, []).append(stored)
    return pods
