"""The dynamic linker's cache: this machine's own, and damaged ones."""

import platform
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import errors, linker_cache

CACHE = Path("/etc/ld.so.cache")


def cache(*entries: tuple[int, str, str], before: bytes = b"") -> bytes:
    """A cache with these flags, names and paths."""
    texts = b""
    table = b""
    start = 48 + 24 * len(entries)
    for flags, name, path in entries:
        table += struct.pack("<iIIIQ", flags, start + len(texts), start + len(texts) + len(name) + 1, 0, 0)
        texts += name.encode() + b"\0" + path.encode() + b"\0"
    return before + struct.pack("<20sII20x", b"glibc-ld.so.cache1.1", len(entries), len(texts)) + table + texts


@pytest.mark.skipif(not CACHE.exists(), reason="this machine's linker has no cache")
def test_this_machines_own() -> None:
    (first, *_) = linker_cache.paths(CACHE.read_bytes(), "libc.so.6", platform.machine())
    assert Path(first).is_file()


def test_only_libraries_for_the_machine_in_their_order() -> None:
    content = cache(
        (0x0803, "a.so", "/i386"), (0x0303, "a.so", "/x/1"), (0x0A03, "a.so", "/arm"), (0x0303, "a.so", "/2")
    )
    assert list(linker_cache.paths(content, "a.so", "x86_64")) == ["/x/1", "/2"]
    assert list(linker_cache.paths(content, "a.so", "aarch64")) == ["/arm"]
    assert list(linker_cache.paths(content, "b.so", "x86_64")) == []
    assert list(linker_cache.paths(content, "a.so", "riscv64")) == []


def test_the_newer_form_behind_the_older() -> None:
    content = cache((0x0303, "a.so", "/1"), before=b"ld.so-1.7.0\0" + b"\0" * 20)
    assert list(linker_cache.paths(content, "a.so", "x86_64")) == ["/1"]


GOOD = cache((0x0303, "a.so", "/1"))


@given(content=st.binary(max_size=100) | st.integers(0, len(GOOD)).map(lambda end: GOOD[:end]))
def test_anything_else_is_malformed(content: bytes) -> None:
    if content != GOOD:
        with pytest.raises(errors.Malformed):
            if not list(linker_cache.paths(content, "a.so", "x86_64")):
                raise errors.Malformed("nothing found")
