"""Write archives whose bytes depend on nothing but their content: sorted, of one time, owned by root."""

from __future__ import annotations

import gzip
import io
import pathlib
import tarfile
from collections.abc import Iterable

PROGRAM, FILE = 0o755, 0o644


def tar(into: pathlib.Path, trees: Iterable[tuple[pathlib.Path, str]], epoch: int) -> None:
    """Write a tar file of folders and files, each at its own path in the archive; times are `epoch`, in seconds."""
    entries: dict[str, pathlib.Path | None] = {}
    for source, at in trees:
        at = at.strip("/")
        _add_parents(entries, at)
        if source.is_dir() and not source.is_symlink():
            for path in source.rglob("*"):
                name = f"{at}/{path.relative_to(source)}".strip("/")
                _add_parents(entries, name)
                entries[name] = path
        else:
            entries[at] = source
    with tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as out:
        for name in sorted(entries):
            _write(out, name, entries[name], epoch)


def compress(source: pathlib.Path, into: pathlib.Path) -> None:
    """Write a file compressed by gzip, without its name and time."""
    with (
        source.open("rb") as plain,
        into.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
    ):
        while block := plain.read(1 << 20):
            packed.write(block)


def tar_gz(into: pathlib.Path, trees: Iterable[tuple[pathlib.Path, str]], epoch: int) -> None:
    """Write a tar file compressed by gzip."""
    plain = into.with_name(f".{into.name}.tar")
    try:
        tar(plain, trees, epoch)
        compress(plain, into)
    finally:
        plain.unlink(missing_ok=True)


def _add_parents(entries: dict[str, pathlib.Path | None], name: str) -> None:
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        entries.setdefault("/".join(parts[:depth]), None)


def _write(out: tarfile.TarFile, name: str, source: pathlib.Path | None, epoch: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = epoch
    if source is None or (source.is_dir() and not source.is_symlink()):
        info.type, info.mode = tarfile.DIRTYPE, PROGRAM
        out.addfile(info)
    elif source.is_symlink():
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(source.readlink()), 0o777
        out.addfile(info)
    else:
        # Modes of a checkout depend on the umask of the user who made it, but for the executable bit.
        info.mode = PROGRAM if source.stat().st_mode & 0o100 else FILE
        content = source.read_bytes()
        info.size = len(content)
        out.addfile(info, io.BytesIO(content))
