"""Which pods' folders have changed: said by the kernel, and without it by looking."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from unigpu_node import folder_watch
from unigpu_node.folder_watch import FolderWatch
from unigpu_node.pod_folders import PodFolders


@pytest.fixture
def watch() -> Iterator[FolderWatch]:
    made = FolderWatch()
    yield made
    made.close()


def add(root: Path, pod: str, container: str = "main") -> Path:
    folder = root / pod / container
    folder.mkdir(parents=True)
    (folder / "grant").write_text("x")
    return folder


def test_only_pods_in_which_something_came_went_or_was_replaced(tmp_path: Path, watch: FolderWatch) -> None:
    root = tmp_path / "containers"
    folders = PodFolders(root, watch)
    assert folders.changed() == set()
    one, _ = add(root, "one"), add(root, "two")
    assert folders.changed() == {"one", "two"}
    assert folders.changed() == set()
    (one / "usage").write_text("x")
    assert folders.changed() == {"one"}
    (one / "usage").write_text("y")
    assert folders.changed() == set()
    (one / "beside").write_text("z")
    folders.changed()
    (one / "beside").rename(one / "grant")
    assert folders.changed() == {"one"}
    second = add(root, "two", "side")
    assert folders.changed() == {"two"}
    (second / "grant").unlink()
    assert folders.changed() == {"two"}
    shutil.rmtree(root / "one")
    assert folders.changed() == {"one"}
    assert folders.changed() == set()
    add(root, "one")
    assert folders.changed() == {"one"}
    (root / "one").rename(root / "three")
    assert folders.changed() >= {"one", "three"}
    shutil.rmtree(root)
    assert folders.changed() == {"two", "three"}
    add(root, "four")
    assert folders.changed() == {"four"}


def test_without_a_watch_all_of_them(tmp_path: Path) -> None:
    add(tmp_path, "one")
    folders = PodFolders(tmp_path)
    for _ in range(2):
        assert folders.changed() == {"one"}


def test_a_folder_that_cant_be_watched_counts_as_changed(
    tmp_path: Path, watch: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = watch.add
    full = {str(tmp_path / "one" / "main")}
    monkeypatch.setattr(watch, "add", lambda folder, name: str(folder) not in full and real(folder, name))
    add(tmp_path, "one")
    add(tmp_path, "two")
    folders = PodFolders(tmp_path, watch)
    folders.changed()
    for _ in range(2):
        assert folders.changed() == {"one"}
    full.clear()
    folders.changed()
    assert folders.changed() == set()


def test_lost_events_and_time_make_all_of_them_count(
    tmp_path: Path, watch: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    folder = add(tmp_path, "one")
    add(tmp_path, "two")
    folders = PodFolders(tmp_path, watch, lambda: now[0])
    folders.changed()
    now[0] += 299
    assert folders.changed() == set()
    now[0] += 1
    assert folders.changed() == {"one", "two"}
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most // 2 + 1):
        (folder / f"{number}").touch()
        (folder / f"{number}").unlink()
    assert folders.changed() == {"one", "two"}
    assert folders.changed() == set()


def test_where_the_kernel_has_no_watch_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        inotify_init1 = staticmethod(lambda flags: -1)

    monkeypatch.setattr(folder_watch, "_libc", Full)
    watch = FolderWatch()
    add(tmp_path, "one")
    folders = PodFolders(tmp_path, watch)
    for _ in range(2):
        assert folders.changed() == {"one"}
    watch.close()


def test_a_bounded_number_of_folders_is_watched_and_room_is_used_again(tmp_path: Path) -> None:
    watch = FolderWatch(most=3)
    folders = PodFolders(tmp_path, watch)
    folder = add(tmp_path, "one")
    folders.changed()
    assert folders.changed() == set()
    add(tmp_path, "two")
    folders.changed()
    for _ in range(2):
        assert folders.changed() == {"two"}
    (folder / "usage").write_text("x")
    assert folders.changed() == {"one", "two"}
    shutil.rmtree(tmp_path / "one")
    assert folders.changed() == {"one", "two"}
    folders.changed()
    assert folders.changed() == set()
    watch.close()


def test_files_beside_pods_are_no_pods_that_need_a_watch(tmp_path: Path, watch: FolderWatch) -> None:
    add(tmp_path, "one")
    (tmp_path / "one" / "file").write_text("x")
    folders = PodFolders(tmp_path, watch)
    assert folders.changed() == {"one"}
    assert folders.changed() == set()
