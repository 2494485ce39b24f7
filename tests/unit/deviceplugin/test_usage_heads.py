"""Which usage files have changed: found with as many system calls for many containers as for few."""

import collections
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deviceplugin.lending.lending_loop import CHECK_NS, LendingRound
from deviceplugin.store.usage_heads import REOPEN_NS, UsageHeads
from deviceplugin.store.wish_reader import WishReader
from unigpu import grants, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent
from unigpu_node.containers import Key

CALLS = (
    "open",
    "close",
    "read",
    "pread",
    "pwrite",
    "preadv",
    "pwritev",
    "lseek",
    "stat",
    "fstat",
    "listdir",
    "scandir",
)
PART = 128, 136


def containers(root: Path, count: int) -> dict[Key, tuple[Path, int]]:
    """So many containers' folders on one GPU."""
    limit = policy.GpuLimit(GpuUuid("GPU-0"), Bytes(1 << 30), Percent(1), Percent(1))
    found = {}
    for number in range(count):
        folder = root / f"uid-{count}-{number}" / "main"
        folder.mkdir(parents=True)
        (folder / grants.USAGE_FILE).write_bytes(bytes(usage.SIZE))
        (folder / grants.POLICY_FILE).write_bytes(policy.pack(policy.Policy((limit,), True, True, ComputePolicy.HARD)))
        found[folder.parent.name, "main"] = folder, 1
    return found


def write(folder: Path, content: bytes, offset: int = PART[0]) -> None:
    with (folder / grants.USAGE_FILE).open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.fixture
def heads() -> Iterator[UsageHeads]:
    made = UsageHeads(lambda gpus: PART)
    yield made
    made.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], dict[str, int]]:
    """Counts the system calls of what it is given."""

    def count(work: Callable[[], Any]) -> dict[str, int]:
        found: collections.Counter[str] = collections.Counter()

        def counted(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                found[name] += 1
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, counted(name))
            work()
        return dict(found)

    return count


def test_only_changes_are_named(tmp_path: Path, heads: UsageHeads) -> None:
    known = containers(tmp_path, 50)
    one, other = list(known)[7], list(known)[40]
    assert heads.changed(known, 0) == dict.fromkeys(known, bytes(8))
    assert heads.changed(known, 1) == {}
    write(known[one][0], b"changed!")
    write(known[other][0], b"elsewhere", PART[1])
    assert heads.changed(known, 2) == {one: b"changed!"}
    assert heads.changed(known, 3) == {}
    rest = {key: folder for key, folder in known.items() if key != one}
    assert one not in heads.changed(rest, 4)


def test_a_file_that_was_cut_is_read_with_care_and_costs_the_others_nothing(tmp_path: Path, heads: UsageHeads) -> None:
    known = containers(tmp_path, 50)
    cut = list(known)[3]
    heads.changed(known, 0)
    os.truncate(known[cut][0] / grants.USAGE_FILE, 0)
    assert heads.changed(known, 1)[cut] is None
    heads.changed(known, 2)
    assert heads.changed(known, 3) == {cut: None}
    assert heads.settled(known, 4), "nothing is opened for it each time"


def test_a_file_that_comes_later_or_is_replaced_is_found(tmp_path: Path, heads: UsageHeads) -> None:
    known = containers(tmp_path, 3)
    late, replaced, last = known
    file = known[late][0] / grants.USAGE_FILE
    file.rename(file.with_name("away"))
    heads.changed(known, 0)
    assert heads.changed(known, 1) == {late: None}
    file.with_name("away").rename(file)
    heads.changed(known, 2)
    assert heads.changed(known, 3) == {}

    beside = tmp_path / "beside"
    beside.write_bytes(b"another!" * (usage.SIZE // 8))
    beside.rename(known[replaced][0] / grants.USAGE_FILE)
    assert heads.changed(known, 4) == {}
    heads.check()
    assert heads.changed(known, 5)[replaced] == b"another!"

    beside.write_bytes(b"and last" * (usage.SIZE // 8))
    beside.rename(known[last][0] / grants.USAGE_FILE)
    assert heads.changed(known, 5 + REOPEN_NS + 1)[last] == b"and last"


def test_looking_for_wishes_at_rest_takes_the_same_calls_for_any_number(
    tmp_path: Path, calls: Callable[[Callable[[], Any]], dict[str, int]]
) -> None:
    found = []
    for count in (2, 300):
        known = containers(tmp_path, count)
        reader = WishReader()
        reader.read(known, 0)
        found.append(calls(lambda: reader.idle(known, 1)))  # noqa: B023
        reader.close()
    assert found == [{"pwritev": 1}] * 2


def test_a_round_of_lending_at_rest_takes_the_same_calls_for_any_number(
    tmp_path: Path, calls: Callable[[Callable[[], Any]], dict[str, int]]
) -> None:
    found = []
    for count in (2, 300):
        folders = frozenset(folder for folder, _ in containers(tmp_path, count).values())
        now = CHECK_NS
        lending = LendingRound(lambda: now)  # noqa: B023
        for _ in range(4):
            now += 500_000_000
            lending.run(folders)
        now += 500_000_000
        found.append(calls(lambda: lending.run(folders)))  # noqa: B023
        lending.close()
        heartbeats = {
            policy.HEARTBEAT.unpack_from((folder / "policy").read_bytes(), policy.HEARTBEAT_OFFSET)[0]
            for folder in folders
        }
        assert heartbeats == {now}, "each live state holds from now on"
    assert found == [{"pwritev": 1, "pwrite": 1, "preadv": 1}] * 2
