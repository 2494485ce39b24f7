"""Which containers there are, and what each one's lines say, while files come, change, tear and go."""

import dataclasses
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import exposition
from exporter.container import Container
from exporter.folders import Folders
from unigpu import grants, names, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes
from unigpu_node import locks

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
    used = container.used
    moving = [used.memory, used.peak, used.failures, used.seconds, used.throttled, used.waits]
    moving += [used.launches, container.current]
    text = b"".join([*moving, granted.limit, granted.cores, granted.ceiling, granted.info]).decode()
    return {
        (sample.name, sample.labels["uuid"]): sample.value
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
        (names.METRIC_MEMORY_PEAK, "GPU-0"): 0,
        (names.METRIC_ALLOCATION_FAILURES, "GPU-0"): 0,
        (names.METRIC_MEMORY_LIMIT, "GPU-0"): 2048 * MIB,
        (names.METRIC_CORES_LIMIT, "GPU-0"): 0.25,
        (names.METRIC_CORES_CEILING, "GPU-0"): 0.25,
        (names.METRIC_CORES_CURRENT, "GPU-0"): 0.25,
        (names.METRIC_COMPUTE_SECONDS, "GPU-0"): 0,
        (names.METRIC_THROTTLED_SECONDS, "GPU-0"): 0,
        (names.METRIC_THROTTLED_LAUNCHES, "GPU-0"): 0,
        (names.METRIC_LAUNCHES, "GPU-0"): 0,
        (names.METRIC_CONTAINER_INFO, "GPU-0"): 1,
    }
    assert not folders.refresh()
    shutil.rmtree(tree.folder(grant))
    assert folders.refresh()
    assert folders.containers() == []


def test_a_new_grant_in_the_same_folder_replaces_the_old_one(tree: Any, folders: Folders) -> None:
    tree.add(tree.grant(gpus=(0,)))
    only(folders)
    tree.add(tree.grant(gpus=(1, 2)))
    assert {gpu for _, gpu in lines(only(folders))} == {"GPU-1", "GPU-2"}


def test_only_living_processes_count(tree: Any, folders: Folders) -> None:
    grant = tree.grant(gpus=(0, 1))
    tree.add(grant)
    tree.use(grant, 5, 100, 7)
    tree.use(grant, 1023, 20, 0, refused=3, change=2)
    first, last = tree.live(grant, 5), tree.live(grant, 1023)
    container = only(folders)
    assert lines(container)[names.METRIC_MEMORY_USED, "GPU-0"] == 120
    assert lines(container)[names.METRIC_MEMORY_USED, "GPU-1"] == 7
    assert lines(container)[names.METRIC_ALLOCATION_FAILURES, "GPU-0"] == 3
    assert container.used.processes.endswith(b"} 2\n")
    first.kill()
    first.wait()
    container.refresh()
    assert used(container) == 20
    assert container.used.processes.endswith(b"} 1\n")
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
    assert lines(container)[names.METRIC_CORES_LIMIT, "GPU-0"] == 0.8


def test_gpu_time_is_seen_while_memory_stays_as_it_is(tree: Any, folders: Folders) -> None:
    grant = tree.grant(gpus=(0, 1))
    tree.add(grant)
    tree.use(grant, 0, 70, 80)
    tree.live(grant, 0)
    container = only(folders)
    for turn in range(1, 4):
        tree.charge(grant, 1, turn * 1_500_000_000, turn * 10_000_000, turn)
        tree.launch(grant, 1, 10 * turn)
        container.refresh()
        told = lines(container)
        assert told[names.METRIC_COMPUTE_SECONDS, "GPU-1"] == turn * 1.5
        assert told[names.METRIC_THROTTLED_SECONDS, "GPU-1"] == turn / 100
        assert told[names.METRIC_THROTTLED_LAUNCHES, "GPU-1"] == turn
        assert told[names.METRIC_LAUNCHES, "GPU-1"] == 10 * turn
        assert told[names.METRIC_COMPUTE_SECONDS, "GPU-0"] == 0
        assert (told[names.METRIC_MEMORY_USED, "GPU-0"], told[names.METRIC_MEMORY_USED, "GPU-1"]) == (70, 80)


def test_a_kind_that_is_noted_later_is_seen(tree: Any, folders: Folders) -> None:
    """A process notes what its bytes are a moment after it took them; a scrape may fall in between."""
    grant = tree.grant()
    tree.add(grant)
    tree.use(grant, 3, 70)
    tree.live(grant, 3)
    container = only(folders)

    def kinds() -> dict[str, float]:
        container.refresh()
        (family,) = text_string_to_metric_families((exposition.KIND.head + container.used.kinds).decode())
        return {sample.labels["kind"]: sample.value for sample in family.samples}

    assert kinds() == {"data": 70, "context": 0, "code": 0, "driver": 0}
    tree.note_kinds(grant, 3, 40, 10)
    assert kinds() == {"data": 20, "context": 40, "code": 10, "driver": 0}


def test_gpu_time_never_goes_back_unless_it_starts_again(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    tree.add(grant)

    def charged(seconds: float) -> float:
        tree.charge(grant, 0, round(seconds * 1e9))
        container = only(folders)
        container.refresh()
        return lines(container)[names.METRIC_COMPUTE_SECONDS, "GPU-0"]

    assert charged(100) == 100
    assert charged(99.9) == 100
    beside = tree.folder(grant) / ".grant"
    beside.write_text(grants.dump(dataclasses.replace(grant, changes=1)))
    beside.rename(tree.folder(grant) / grants.GRANT_FILE)
    assert charged(99.8) == 100
    assert charged(100.5) == 100.5
    assert charged(1) == 1


def test_what_the_node_agent_says_holds_for_a_second(tree: Any, folders: Folders) -> None:
    grant = tree.grant(cores=25)
    tree.add(grant)
    tree.limit(grant, 2048, 25, 2, ComputePolicy.SOFT)
    container = only(folders)
    assert lines(container)[names.METRIC_CORES_CURRENT, "GPU-0"] == 0.25
    second = 1_000_000_000
    for now, looked, clock, seen in (
        (80, 100, 100, 80),
        (60, 100, 100.5, 60),
        (60, 101, 101.5, 60),
        (60, 101, 102.5, 25),
        (60, 103, 103.1, 60),
        (0, 104, 104.1, 25),
    ):
        tree.tell(grant, now, looked * second)
        assert not container.refresh(int(clock * second))
        assert lines(container)[names.METRIC_CORES_CURRENT, "GPU-0"] == seen / 100


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


def test_usage_that_cant_be_is_named_and_set_aside(
    tree: Any, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = locks.living

    def living(descriptor: int) -> frozenset[int]:
        reads.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(locks, "living", living)
    grant = tree.grant()
    tree.add(grant)
    container = only(folders)
    tree.live(grant, 0)
    tree.use(grant, 0, 1 << 63)
    for now in (0, 1, 29_999_999_999):
        assert container.refresh(now) == (now == 0)
        assert list(container.unreadable) == [grants.USAGE_FILE]
        assert (names.METRIC_MEMORY_USED, "GPU-0") not in lines(container)
    assert len(reads) == 1
    tree.use(grant, 0, MIB, change=2)
    assert not container.refresh(29_999_999_999)
    assert container.refresh(30_000_000_000)
    assert used(container) == MIB


def test_a_container_uses_no_more_than_its_gpu_has(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    tree.add(grant)
    container = only(folders)
    tree.live(grant, 0)
    tree.use(grant, 0, 3000 * MIB)
    gpu = grant.shares[0].gpu
    assert not container.refresh(0, {gpu: Bytes(3000 * MIB)})
    assert used(container) == 3000 * MIB
    tree.use(grant, 0, 3001 * MIB, change=2)
    assert container.refresh(0, {gpu: Bytes(3000 * MIB)})
    assert "in use of GPU 0" in container.unreadable[grants.USAGE_FILE]
    # Without a limit, managed memory may be more than the GPU has.
    tree.limit(grant, 0, 25, sequence=2)
    container.refresh(30_000_000_000, {gpu: Bytes(3000 * MIB)})
    assert used(container) == 3001 * MIB


def test_gpu_time_that_cant_be(tree: Any, folders: Folders) -> None:
    grant = tree.grant()
    folder = tree.add(grant)
    container = only(folders)
    tree.use(grant, 0, MIB)
    container.refresh(0)
    with (folder / grants.USAGE_FILE).open("r+b") as opened:
        opened.seek(usage.COMPUTE_OFFSET + 16)
        opened.write(struct.pack("<Q", 1 << 63))
    assert container.refresh(0)
    assert "GPU time" in container.unreadable[grants.USAGE_FILE]


def test_many_processes_are_asked_for_together(tree: Any, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = tree.grant()
    tree.add(grant)
    for slot in range(5):
        tree.use(grant, slot, MIB)
    living = [tree.live(grant, slot) for slot in range(5)]
    container = only(folders)
    monkeypatch.setattr(locks, "held", None)  # would ask for each of them
    container.refresh(0)
    assert used(container) == 5 * MIB
    living[0].kill()
    living[0].wait()
    container.refresh(0)
    assert used(container) == 4 * MIB
