"""Whether the node's container runtime carries out CDI devices: one that ignores them starts containers without GPUs.

The node object names the runtime and its version. containerd 1.7 needs an option in its configuration, too: where the
agent sees the node's files, it reads that. A runtime of which nothing is known counts as one that does: a
container that gets no devices gets no GPU either, because Allocate sets NVIDIA_VISIBLE_DEVICES=void.

containerd's option: https://github.com/containerd/containerd/blob/main/docs/cri/config.md
"""

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unigpu import documents, errors
from unigpu_node.driver_root import DriverRoot

_CONFIGURATIONS = (
    "etc/containerd/config.toml",
    "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "var/snap/microk8s/current/args/containerd.toml",
    "etc/k0s/containerd.toml",
)
"""Where containerd and the distributions that bring it along keep its configuration."""
_IMPORTS = 16
"""Files that a configuration names at most."""
_CRI_PLUGINS = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri")
_FIRST, _BY_DEFAULT = (1, 7), (2, 0)
"""Versions of containerd that know CDI, and that use it unless told otherwise."""
_FIRST_CRIO = (1, 28)
_VERSION = re.compile(r"(containerd|cri-o)://v?([0-9]{1,4})\.([0-9]{1,4})")
_ACCEPTED = "accepted: containerd 1.7 with enable_cdi = true, containerd 2.0 or later, CRI-O 1.28 or later"


def problem(runtime: str, options: Sequence[bool | None] = ()) -> str:
    """Return why containers would get no CDI devices; empty: they get them, or nothing is known.

    `runtime`: as the node's status has it, `containerd://1.7.27`. `options`: enable_cdi in each configuration of
    containerd that was found, None where it isn't there.
    """
    match = _VERSION.match(runtime)
    if match is None:
        return ""
    name, version = match[1], (int(match[2]), int(match[3]))
    says = f"the container runtime {runtime.replace('://', ' ')}"
    if version < (_FIRST_CRIO if name == "cri-o" else _FIRST):
        return f"{says} knows no CDI devices, without which no container gets its GPUs; {_ACCEPTED}"
    if name == "cri-o" or not options or True in options:
        return ""
    if False in options or version < _BY_DEFAULT:
        return f"{says} ignores CDI devices, without which no container gets its GPUs: enable_cdi is off; {_ACCEPTED}"
    return ""


class RuntimeCheck:
    """The node's container runtime, as far as the agent sees it."""

    def __init__(self, host: Path | None) -> None:
        """`host`: where the node's root is mounted; None: the agent doesn't see it."""
        self._root = DriverRoot(host, PurePosixPath("/")) if host is not None else None
        self.runtime = ""
        """Name and version; empty: not known yet."""

    def problem(self) -> str:
        """Return why no container would get its GPUs; empty where they do, or nothing is known. Reads files."""
        return problem(self.runtime, list(self._options()))

    def _options(self) -> Iterator[bool | None]:
        if self._root is not None and self.runtime.startswith("containerd"):
            for name in _CONFIGURATIONS:
                found = list(self._read(self._root, PurePosixPath("/") / name))
                if found:
                    yield True if True in found else False if False in found else None

    def _read(self, root: DriverRoot, path: PurePosixPath) -> Iterator[bool | None]:
        """The option in a configuration, and in those that it imports."""
        found = _configuration(root, path)
        if found is None:
            return
        yield found.enable_cdi
        for pattern in found.imports:
            at = PurePosixPath(pattern)
            at = at if at.is_absolute() else path.parent / at
            with contextlib.suppress(OSError, ValueError, errors.Unavailable, NotImplementedError):
                folder = root.resolve(at.parent)
                for file in sorted(root.seen(folder).glob(at.name))[:_IMPORTS]:
                    imported = _configuration(root, folder / file.name)
                    if imported is not None:
                        yield imported.enable_cdi


@dataclass(frozen=True, slots=True)
class Configuration:
    """What matters of a configuration of containerd."""

    enable_cdi: bool | None = None
    """None: the option isn't there, or is no such option."""
    imports: Sequence[str] = ()
    """Patterns of further configurations."""


def load(text: str) -> Configuration:
    """Return what a configuration says. Raises Malformed."""
    try:
        document = tomllib.loads(text)
    except documents.INVALID as error:
        raise errors.Malformed(f"it isn't a configuration of containerd: {documents.brief(error)}") from error
    plugins, imports = document.get("plugins"), document.get("imports")
    patterns = [str(one) for one in imports] if isinstance(imports, list) else []
    for name in _CRI_PLUGINS:
        section = plugins.get(name) if isinstance(plugins, Mapping) else None
        value = section.get("enable_cdi") if isinstance(section, Mapping) else None
        if isinstance(value, bool):
            return Configuration(value, patterns)
    return Configuration(None, patterns)


def _configuration(root: DriverRoot, path: PurePosixPath) -> Configuration | None:
    try:
        return load(root.seen(root.resolve(path)).read_text(errors="replace"))
    except (OSError, errors.Unavailable, errors.Malformed):
        return None
