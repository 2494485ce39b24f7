"""Refuse paths in a container that would hide the files by which unigpu limits it.

The runtime mounts libvgpu, the policy, the usage file and `/etc/ld.so.preload` into a container with a share of a GPU.
A volume at one of these paths, at a folder above or below, or through `/proc`, where `/proc/self/root` is `/` again,
would replace them. The kubelet mounts a file at `terminationMessagePath` too, and a device node at `devicePath`.
"""

from collections.abc import Iterable, Iterator

from unigpu import names
from unigpu.findings import Problem
from webhook.translation.pods import Container

PROC = "/proc"
GUARDED = (names.CONTAINER_ROOT, names.CONTAINER_PRELOAD)
"""Paths that must be what the runtime mounts there."""
ACCEPTED = f"a path outside {PROC} that is neither above nor below {' or '.join(GUARDED)}"


def problems(container: Container) -> Iterator[Problem]:
    """Yield a problem for each path of the container that would hide unigpu's files."""
    for field, path in container.paths:
        why = hidden(path)
        if why is not None:
            yield Problem(container.name, field, path, why, ACCEPTED)


def hidden(path: str) -> str | None:
    """Return why nothing may be mounted at the path; None where something may.

    `..` is refused as such: where a link of the image precedes it, only the node can tell where it leads.
    """
    found = parts(path)
    if ".." in found:
        return "a path with .. can lead to the files that limit the container's use of GPUs"
    if _begins(found, parts(PROC)):
        return f"{PROC} leads to every file of the container, among them those that limit its use of GPUs"
    for guarded in GUARDED:
        target = parts(guarded)
        if _begins(found, target) or _begins(target, found):
            return f"it would hide {guarded}, which limits the container's use of GPUs"
    return None


def parts(path: str) -> tuple[str, ...]:
    """Return the names in a path as the kubelet and the runtime read it: from the root, without `.` and empty ones."""
    return tuple(name for name in path.split("/") if name not in ("", "."))


def _begins(path: Iterable[str], head: tuple[str, ...]) -> bool:
    return tuple(path)[: len(head)] == head
