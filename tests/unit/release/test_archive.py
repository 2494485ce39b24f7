"""Archives of a release depend on nothing but their content."""

import gzip
import os
import tarfile
from pathlib import Path

from release import archive


def tree(root: Path, umask: int, order: list[str]) -> Path:
    """Write the same files under another umask, in another order."""
    before = os.umask(umask)
    try:
        for name in order:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        (root / "b" / "run").chmod(0o755 & ~umask)
        (root / "link").symlink_to("a")
    finally:
        os.umask(before)
    return root


def test_two_trees_of_the_same_content_give_the_same_bytes(tmp_path: Path) -> None:
    first = tree(tmp_path / "first", 0o022, ["a", "b/run", "b/c/d"])
    second = tree(tmp_path / "second", 0o077, ["b/c/d", "b/run", "a"])
    os.utime(second / "a", (1, 1))
    for source, name in ((first, "1"), (second, "2")):
        archive.tar_gz(tmp_path / name, [(source, "top")], 1_700_000_000)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_entries_are_sorted_with_their_folders_owned_by_root_and_of_one_time(tmp_path: Path) -> None:
    source = tree(tmp_path / "source", 0o022, ["a", "b/run", "b/c/d"])
    archive.tar(tmp_path / "out.tar", [(source, "top"), (source / "a", "etc/alone")], 1_700_000_000)
    with tarfile.open(tmp_path / "out.tar") as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == ["etc", "etc/alone", "top", "top/a", "top/b", "top/b/c", "top/b/c/d", "top/b/run", "top/link"]
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 1_700_000_000)}
    modes = {member.name: member.mode for member in members}
    assert modes["top/b/run"] == 0o755
    assert modes["top/a"] == 0o644


def test_a_compressed_file_names_neither_time_nor_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"content")
    archive.compress(tmp_path / "plain", tmp_path / "packed")
    packed = (tmp_path / "packed").read_bytes()
    assert gzip.decompress(packed) == b"content"
    assert packed[3] == 0  # no name
    assert packed[4:8] == bytes(4)  # no time
