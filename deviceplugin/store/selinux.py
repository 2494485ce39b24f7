"""Labels the agent's folder for SELinux, so that containers may read libvgpu and their policy, and write their usage,
and the exporter reads all of it without privileges.

Below /var/lib files get a type that containers may not read. The dynamic linker then leaves libvgpu out, and a program
would have no limits. New files take their folder's type, so that labelling the folders, and once what lies in them, is
enough. A label without categories is open to containers of every category.

Types: https://github.com/containers/container-selinux
"""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from unigpu import logs

logger = logging.getLogger(__name__)

ENABLED = Path("/sys/fs/selinux/enforce")
"""Exists where the kernel has SELinux and a policy is loaded, enforcing or not."""
_ATTRIBUTE = "security.selinux"


def label(folders: Sequence[Path], context: str, enabled: Path = ENABLED) -> str:
    """Give the folders, and all that lies in them, the context; return what couldn't be labelled and why, else "".

    Does nothing where `context` is empty, or where SELinux is off.
    """
    if not context or not enabled.exists():
        return ""
    wanted = context.encode()
    changed = 0
    for path in _all(folders):
        try:
            if os.getxattr(path, _ATTRIBUTE, follow_symlinks=False).rstrip(b"\0") == wanted:
                continue
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOENT):
                return _problem(path, context, error)
        try:
            os.setxattr(path, _ATTRIBUTE, wanted, follow_symlinks=False)
            changed += 1
        except FileNotFoundError:
            continue  # of a container that has just ended
        except OSError as error:
            return _problem(path, context, error)
    if changed:
        logs.event(logger, "files labelled for SELinux", label=context, files=changed)
    return ""


def _all(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        for path in folder.rglob("*"):
            if not path.is_symlink():
                yield path


def _problem(path: Path, context: str, error: OSError) -> str:
    return (
        f"can't label {path} {context} for SELinux, so that containers may not load libvgpu: {error.strerror}; "
        f"accepted: that label, another one by --selinux-label, or a policy of your own and an empty one"
    )
