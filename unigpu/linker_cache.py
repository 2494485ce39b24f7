"""Read the dynamic linker's cache of a root, /etc/ld.so.cache: which file it takes for a library.

Format: `struct cache_file_new` of glibc's sysdeps/generic/dl-cache.h; a cache in the older form has the newer one
behind it.
"""

import struct
from collections.abc import Iterator

from unigpu import errors

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sII20x")
"""Magic, number of entries, length of the texts."""
_ENTRY = struct.Struct("<iIIIQ")
"""Flags, offset of the name, offset of the path, version of the kernel, hardware capabilities."""
_KINDS = {"x86_64": 0x0303, "aarch64": 0x0A03}
"""Flags of a 64-bit library for glibc, by machine."""
_LONGEST = 4096


def paths(content: bytes, library: str, machine: str) -> Iterator[str]:
    """Yield the paths of a library with that name for the machine (as `uname -m` says), as the linker prefers them.

    Raises Malformed.
    """
    start = content.find(_MAGIC)
    if start < 0:
        raise errors.Malformed(f"ld.so.cache isn't of glibc's form: {_MAGIC.decode()} isn't in it")
    try:
        _, count, _ = _HEADER.unpack_from(content, start)
        for position in range(min(count, len(content) // _ENTRY.size)):
            flags, name, path, _, _ = _ENTRY.unpack_from(content, start + _HEADER.size + position * _ENTRY.size)
            if flags == _KINDS.get(machine) and _text(content, start + name) == library:
                yield _text(content, start + path)
    except (struct.error, ValueError) as error:
        raise errors.Malformed(f"ld.so.cache can't be read: {error}") from error


def _text(content: bytes, start: int) -> str:
    """Raises ValueError."""
    end = content.index(b"\0", start, start + _LONGEST)
    return content[start:end].decode()
