"""Wishes in usage files are found once each, at a bounded cost."""

import struct
from pathlib import Path

import pytest

from deviceplugin.limits import wish_watch
from deviceplugin.store.wish_reader import REOPEN_NS, WishReader
from unigpu import usage, wishes

ONE, OTHER = ("uid-1", "main"), ("uid-2", "main")


def wish(folder: Path, number: int, memory: int) -> None:
    with (folder / "usage").open("r+b") as file:
        file.seek(wishes.WISH_OFFSET)
        file.write(struct.pack("<4Q", number, 0, memory, 0))


@pytest.fixture
def folders(tmp_path: Path) -> dict[tuple[str, str], tuple[Path, int]]:
    found = {}
    for key in (ONE, OTHER):
        folder = tmp_path / key[0]
        folder.mkdir()
        (folder / "usage").write_bytes(bytes(usage.SIZE))
        found[key] = folder, 1
    return found


def test_each_wish_is_found_once(folders: dict[tuple[str, str], tuple[Path, int]]) -> None:
    reader = WishReader()
    try:
        assert reader.read(folders, 0) == {}
        wish(folders[ONE][0], 7, 1 << 20)
        assert {key: one.number for key, one in reader.read(folders, 1).items()} == {ONE: 7}
        assert reader.read(folders, 2) == {}
        assert reader.read(folders, 2 * REOPEN_NS) == {}
        wish(folders[ONE][0], 8, 2 << 20)
        wish(folders[OTHER][0], 9, 3 << 20)
        assert {key: one.number for key, one in reader.read(folders, 3).items()} == {ONE: 8, OTHER: 9}
        rest = {OTHER: folders[OTHER]}
        assert reader.read(rest, 4) == {}
        assert list(reader.read(dict(folders), 5)) == [ONE], "a container that was gone is another one"
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("cost", "seconds"), [(0.0, wish_watch.PACE), (0.0003, 0.1), (0.0006, 0.2), (1.0, wish_watch.MAX_PACE)]
)
def test_readings_that_cost_more_are_fewer(cost: float, seconds: float) -> None:
    assert wish_watch.pause(cost) == pytest.approx(seconds)
