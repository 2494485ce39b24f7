"""Which containers there are, and what each one's lines say, while files come, change, tear and go."""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.container import Container
from exporter.folders import Folders
from unigpu import grants, names, policy, usage

MIB = 1 << 20


@pytest.fixture
def folders(tree: Any) -> Iterator[Folders]:
    made = Folders(tree.root)
    yield made
    made.close()


def only(folders: Folders) -> Container:
    folders.refresh()
    (container,) = folders.containers()
    container.refresh()
    return container


def lines(container: Container) -> dict[tuple[str, str], float]:
    """Value by metric and GPU."""
    granted = container.granted
    text = b"".join([container.used, container.refused, granted.limit, granted.cores, granted.info]).decode()
    return {
        (sample.name, sample.labels["gpu"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def used(container: Container) -> float:
    return lines(container)[names.METRIC_MEMORY_USED, "GPU-0"]


def test_without_a_root_there_are_no_containers(folders: Folders) -> None:
    assert not folders.refresh()
    assert folders.containers() == []


def test_a_container_is_there_from_its_grant_on_and_gone_with_its_folder(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    tree.folder(grant).mkdir(parents=True)
    assert not folders.refresh()
    tree.add(grant)
    assert lines(only(folders)) == {
        (names.METRIC_MEMORY_USED, "GPU-0"): 0,
        (names.METRIC_MEMORY_REFUSED, "GPU-0"): 0,
        (names.METRIC_MEMORY_LIMIT, "GPU-0"): 2048 * MIB,
        (names.METRIC_CORES_LIMIT, "GPU-0"): 25,
        (names.METRIC_CONTAINER_INFO, "GPU-0"): 1,
    }
    assert not folders.refresh()
    shutil.rmtree(tree.folder(grant))
    assert folders.refresh()
    assert folders.containers() == []


def test_a_new_grant_in_the_same_folder_replaces_the_old_one(tree: Any, folders: Folders) -> None:
    tree.add(tree.grant(cards=(0,)))
    only(folders)
    tree.add(tree.grant(cards=(1, 2)))
    assert {gpu for _, gpu in lines(only(folders))} == {"GPU-1", "GPU-2"}


def test_only_living_processes_count(tree: Any, folders: Folders) -> None:
    grant = tree.grant(cards=(0, 1))
    tree.add(grant)
    tree.use(grant, 5, 100, 7)
    tree.use(grant, 1023, 20, 0, refused=3, change=2)
    first, last = tree.live(grant, 5), tree.live(grant, 1023)
    container = only(folders)
    assert lines(container)[names.METRIC_MEMORY_USED, "GPU-0"] == 120
    assert lines(container)[names.METRIC_MEMORY_USED, "GPU-1"] == 7
    assert lines(container)[names.METRIC_MEMORY_REFUSED, "GPU-0"] == 3
    first.kill()
    first.wait()
    container.refresh()
    assert used(container) == 20
    last.kill()
    last.wait()
    container.refresh()
    assert used(container) == 0


def test_a_change_of_a_slot_is_seen(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    tree.add(grant)
    container = only(folders)
    tree.live(grant, 0)
    for turn in range(1, 4):
        tree.use(grant, 0, turn * MIB, change=turn)
        container.refresh()
        assert used(container) == turn * MIB


def test_a_limit_that_changes_in_place_is_seen(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    tree.add(grant)
    container = only(folders)
    assert not container.refresh()
    tree.limit(grant, 512, 80, sequence=2)
    assert container.refresh()
    assert lines(container)[names.METRIC_MEMORY_LIMIT, "GPU-0"] == 512 * MIB
    assert lines(container)[names.METRIC_CORES_LIMIT, "GPU-0"] == 80


def test_a_policy_that_is_being_written_leaves_the_limits_that_were_known(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    folder = tree.add(grant)
    container = only(folders)
    tree.limit(grant, 512, 80)
    with (folder / grants.POLICY_FILE).open("r+b") as file:
        file.seek(policy.SEQUENCE_OFFSET)
        file.write(struct.pack("<I", 3))
    assert not container.refresh()
    assert lines(container)[names.METRIC_MEMORY_LIMIT, "GPU-0"] == 2048 * MIB
    tree.limit(grant, 512, 80, sequence=4)
    container.refresh()
    assert lines(container)[names.METRIC_MEMORY_LIMIT, "GPU-0"] == 512 * MIB
    assert container.unreadable == {}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (grants.USAGE_FILE, b"x" * usage.SIZE),
        (grants.USAGE_FILE, struct.pack("<II", usage.MAGIC, usage.VERSION + 1) + bytes(usage.SIZE)),
        (grants.USAGE_FILE, struct.pack("<II", usage.MAGIC, usage.VERSION)),
        (grants.USAGE_FILE, None),
        (grants.POLICY_FILE, b"x" * policy.SIZE),
        (grants.POLICY_FILE, b"short"),
        (grants.POLICY_FILE, b""),
        (grants.POLICY_FILE, None),
    ],
)
def test_a_torn_file_is_named_and_comes_back(tree: Any, folders: Folders, file: str, content: bytes | None) -> None:
    grant = tree.grant()
    folder = tree.add(grant)
    sane = (folder / file).read_bytes()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    container = only(folders)
    assert list(container.unreadable) == [file]
    # What is known from the other files is still there.
    told = lines(container)
    assert told[names.METRIC_MEMORY_LIMIT, "GPU-0"] == 2048 * MIB
    assert ((names.METRIC_MEMORY_USED, "GPU-0") in told) == (file != grants.USAGE_FILE)
    (folder / file).write_bytes(sane)
    assert container.refresh()
    assert container.unreadable == {}
    assert used(container) == 0


def test_an_empty_usage_file_is_that_of_a_container_that_has_not_begun(tree: Any, folders: Folders) -> None:
    folder = tree.add(tree.grant())
    (folder / grants.USAGE_FILE).write_bytes(b"")
    container = only(folders)
    assert container.unreadable == {}
    assert used(container) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', "\udc80"])
def test_a_torn_grant_leaves_the_others_alone(tree: Any, folders: Folders, text: str) -> None:
    tree.add(tree.grant("good"))
    bad = tree.add(tree.grant("bad")) / grants.GRANT_FILE
    bad.write_text(text, errors="surrogateescape")
    container = only(folders)
    assert container.grant.pod == "good"
    assert list(folders.broken) == [("uid-bad", "main")]
    tree.add(tree.grant("bad"))
    folders.refresh()
    assert list(folders.broken) == []
    assert {container.grant.pod for container in folders.containers()} == {"good", "bad"}


def test_a_grant_in_anothers_folder_is_torn(tree: Any, folders: Folders) -> None:
    tree.add(tree.grant("one"))
    other = Path(tree.root / "uid-other" / "main")
    shutil.copytree(tree.folder(tree.grant("one")), other)
    folders.refresh()
    assert list(folders.broken) == [("uid-other", "main")]


def test_more_containers_than_files_may_stay_open(tree: Any) -> None:
    grants_of = [tree.grant(f"pod-{number}") for number in range(5)]
    for slot, grant in enumerate(grants_of):
        tree.add(grant)
        tree.use(grant, slot, 100 + slot)
        tree.live(grant, slot)
    folders = Folders(tree.root, open_files=2)
    before = descriptors()
    folders.refresh()
    for _ in range(2):
        for container in folders.containers():
            container.refresh()
        assert sorted(used(container) for container in folders.containers()) == [100, 101, 102, 103, 104]
        assert descriptors() == before + 2
    folders.close()
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_foreign_things_in_the_tree_are_passed_over(tree: Any, folders: Folders) -> None:
    tree.add(tree.grant())
    (tree.root / "file").write_text("x")
    (tree.root / "uid-train" / "file").write_text("x")
    (tree.root / "empty").mkdir()
    only(folders)
    assert list(folders.broken) == []
