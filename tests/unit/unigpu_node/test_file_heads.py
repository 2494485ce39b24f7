"""Copies of the beginnings of many files, taken at once."""

import mmap
import os
from pathlib import Path

from unigpu_node.file_heads import Copies, Snapshots


def test_more_views_than_one_call_takes() -> None:
    snapshots = Snapshots()
    wanted = [number.to_bytes(2, "little") * (number % 5 + 1) for number in range(3000)]
    assert snapshots.take([memoryview(one) for one in wanted]) == wanted
    assert snapshots.take([]) == []
    snapshots.close()


def test_only_what_changed_is_named_and_a_file_that_was_cut_ends_nobody(tmp_path: Path) -> None:
    maps, files = [], []
    for number in range(100):
        file = tmp_path / str(number)
        file.write_bytes(bytes(mmap.PAGESIZE))
        with file.open("rb") as stream:
            maps.append(mmap.mmap(stream.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ))
        files.append(file)
    snapshots = Snapshots()
    copies = Copies(snapshots, [memoryview(one)[8:16] for one in maps])
    assert copies.changed() == dict.fromkeys(range(100), bytes(8))
    assert copies.changed() == {}
    with files[70].open("r+b") as stream:
        stream.seek(8)
        stream.write(b"changed!")
    assert copies.changed() == {70: b"changed!"}
    os.truncate(files[3], 0)
    found = copies.changed()
    assert found[3] is None
    assert found[70] == b"changed!"
    snapshots.close()
