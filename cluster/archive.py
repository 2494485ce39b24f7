"""Write images without an image builder: one layer of given files, in the archive format of `docker save`.

The same content always gives the same bytes, so an image can be named after a hash of its content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import platform
import tarfile
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of the layer: the content of `source`, or a link, or an empty folder."""

    path: str
    """Without a leading slash."""
    source: pathlib.Path | None = None
    link: str = ""
    mode: int = 0o755


def architecture() -> str:
    """Return the machine's architecture as image configurations spell it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def write(
    file: pathlib.Path, name: str, entries: Iterable[Entry], command: Sequence[str], *, entry_point: bool = True
) -> None:
    """Write an image archive of these files; `command` is its entry point, or only its default command."""
    file.parent.mkdir(parents=True, exist_ok=True)
    layer = file.with_name(f".{file.name}.layer.{os.getpid()}")
    try:
        with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
            for item in entries:
                _add(tar, item)
        wrap(file, name, layer, command, entry_point=entry_point)
    finally:
        layer.unlink(missing_ok=True)


def wrap(
    file: pathlib.Path, name: str, layer: pathlib.Path, command: Sequence[str], *, entry_point: bool = False
) -> None:
    """Write an image archive atomically; its one layer is an existing tar file."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with layer.open("rb") as stream:
        layer_digest = hashlib.file_digest(stream, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint" if entry_point else "Cmd": list(command),
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            # Image builders that add layers expect one history entry per existing layer.
            "history": [{"created_by": "unigpu local cluster"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{layer_digest}/layer.tar"]}]
    try:
        with tarfile.open(temporary, "w") as tar:
            _add_bytes(tar, config_name, config)
            _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
            _add(tar, Entry(f"{layer_digest}/layer.tar", source=layer, mode=0o644))
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, item: Entry) -> None:
    info = tarfile.TarInfo(item.path)
    info.mode = item.mode
    if item.link:
        info.type, info.linkname = tarfile.SYMTYPE, item.link
        tar.addfile(info)
    elif item.source is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = item.source.stat().st_size
        with item.source.open("rb") as stream:
            tar.addfile(info, stream)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))
