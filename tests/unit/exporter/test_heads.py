"""What is said of containers without reading them all again is what somebody says who reads them for the first time."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.container import Container
from exporter.folders import Folders
from exporter.heads import DESCRIPTORS, Heads
from unigpu import grants, policy, usage
from unigpu.requests import ComputePolicy
from unigpu_node.folder_watch import FolderWatch

MIB = 1 << 20


class Reader:
    """Folders and heads, as the exporter has them."""

    def __init__(self, root: Path, *, watching: bool = True, open_files: int = 64, turns: int = 1_000_000) -> None:
        """`turns`: of the heads; without it, nobody's turn comes in a test."""
        self.watch = FolderWatch()
        if not watching:
            self.watch.close()
        self.folders = Folders(root, open_files=open_files, watch=self.watch)
        self.heads = Heads(turns)
        self.heads.refresh((), 0, {})  # the first turn is over

    def look(self) -> dict[str, object]:
        """What is said of each container; None of it by what was said before, apart from counters that go on."""
        if self.folders.refresh():
            self.heads.keep(self.folders.containers())
        self.heads.refresh(self.folders.containers(), time.monotonic_ns(), {})
        return {one.grant.pod: said(one) for one in self.folders.containers()}

    def settle(self) -> None:
        """Look until nothing has to be read again; policies count as settled some time after they are written."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.look()
            if not self.again():
                return
        raise AssertionError("containers are read again all the time")

    def again(self) -> list[str]:
        """Look, and return the pods whose containers were read again."""
        found: list[str] = []
        real = Container.refresh

        def refresh(one: Container, *arguments: Any) -> bool:
            found.append(one.grant.pod)
            return real(one, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Container, "refresh", refresh)
            self.look()
        return found

    def close(self) -> None:
        self.heads.close()
        self.folders.close()
        self.watch.close()


def said(one: Container) -> object:
    return one.granted, one.used, one.current, sorted(one.unreadable)


def fresh(root: Path) -> dict[str, object]:
    """The same by somebody who has seen nothing before."""
    folders = Folders(root)
    folders.refresh()
    for one in folders.containers():
        one.refresh()
    found = {one.grant.pod: said(one) for one in folders.containers()}
    folders.close()
    return found


@pytest.fixture
def reader(tree: Any) -> Iterator[Reader]:
    made = Reader(tree.root)
    yield made
    made.close()


def settled(tree: Any, reader: Reader, count: int = 3) -> Sequence[grants.Grant]:
    """Containers that were read and are at rest."""
    made = [tree.grant(f"pod-{number}", gpus=(number % 4, (number + 1) % 4)) for number in range(count)]
    for grant in made:
        tree.add(grant)
        tree.use(grant, 0, MIB, MIB)
    reader.settle()
    return made


def test_containers_at_rest_are_not_read_again(tree: Any, reader: Reader) -> None:
    settled(tree, reader)
    assert reader.again() == []
    assert reader.look() == fresh(tree.root)


def _uses(tree: Any, grant: grants.Grant) -> None:
    tree.live(grant, 3)
    tree.use(grant, 3, 7 * MIB, 0, change=5)


def _policy_replaced(tree: Any, grant: grants.Grant) -> None:
    file = tree.folder(grant) / grants.POLICY_FILE
    beside = file.with_name("beside")
    shutil.copyfile(file, beside)
    file.rename(file.with_name("former"))
    beside.rename(file)
    tree.limit(grant, 333, 33)


CHANGES: dict[str, Callable[[Any, grants.Grant], object]] = {
    "memory in use": _uses,
    "GPU time": lambda tree, grant: tree.charge(grant, 1, 5_000_000_000, 7, 1),
    "limit": lambda tree, grant: tree.limit(grant, 512, 80, sequence=2),
    "soft from now on": lambda tree, grant: tree.limit(grant, 512, 80, 2, ComputePolicy.SOFT),
    "policy replaced": _policy_replaced,
    "policy gone": lambda tree, grant: (tree.folder(grant) / grants.POLICY_FILE).unlink(),
    "policy torn": lambda tree, grant: (tree.folder(grant) / grants.POLICY_FILE).write_bytes(b"x" * policy.SIZE),
    "policy cut": lambda tree, grant: os.truncate(tree.folder(grant) / grants.POLICY_FILE, 0),
    "usage torn": lambda tree, grant: (tree.folder(grant) / grants.USAGE_FILE).write_bytes(b"x" * usage.SIZE),
    "usage empty": lambda tree, grant: os.truncate(tree.folder(grant) / grants.USAGE_FILE, 0),
    "usage cut": lambda tree, grant: os.truncate(tree.folder(grant) / grants.USAGE_FILE, 100),
    "usage impossible": lambda tree, grant: tree.charge(grant, 0, 1 << 63),
    "a new grant": lambda tree, grant: tree.add(tree.grant(grant.pod, gpus=(3,))),
    "gone": lambda tree, grant: shutil.rmtree(tree.folder(grant)),
    "its pod gone": lambda tree, grant: shutil.rmtree(tree.folder(grant).parent),
    "another one": lambda tree, grant: tree.add(tree.grant("new")),
    "another that is torn": lambda tree, grant: (tree.add(tree.grant("new")) / grants.GRANT_FILE).write_text("{"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("watching", [True, False], ids=["watched", "unwatched"])
def test_each_change_is_seen_at_once(tree: Any, name: str, watching: bool) -> None:
    reader = Reader(tree.root, watching=watching)
    try:
        first = settled(tree, reader)[0] if watching else tree.grant("pod-0", gpus=(0, 1))
        if not watching:
            tree.add(first)
        before = reader.look()
        CHANGES[name](tree, first)
        after = reader.look()
        assert after == fresh(tree.root)
        assert after != before or name in {"another that is torn", "usage empty", "usage cut"}
        assert sorted(reader.folders.broken) == ([("uid-new", "main")] if "torn" in name and "another" in name else [])
        assert reader.look() == fresh(tree.root)
    finally:
        reader.close()


def test_the_end_of_a_process_is_seen_although_no_file_changes(tree: Any, reader: Reader) -> None:
    first, *_ = settled(tree, reader)
    holders = [tree.live(first, slot) for slot in (1, 2)]
    tree.use(first, 1, 5 * MIB, 0, change=2)
    tree.use(first, 2, 6 * MIB, 0, change=3)
    reader.settle()
    for holder in holders:
        before = reader.look()
        holder.kill()
        holder.wait()
        assert reader.look() == fresh(tree.root) != before


def test_a_rate_is_followed_without_reading_the_limits_again(tree: Any, reader: Reader) -> None:
    first, *_ = settled(tree, reader)
    tree.limit(first, 512, 25, 2, ComputePolicy.SOFT)
    reader.settle()
    for rate in (80, 60, 100):
        # Far in the future, so that it holds however slow this machine is.
        tree.tell(first, rate, time.monotonic_ns() + 3_600_000_000_000)
        assert reader.again() == []
        assert reader.look() == fresh(tree.root)
        (container,) = [one for one in reader.folders.containers() if one.grant.pod == first.pod]
        assert container.current.count(f" {rate / 100:g}\n".encode()) == 1
    tree.tell(first, 80, 0)
    assert reader.again() == []
    assert reader.look() == fresh(tree.root)


def test_a_file_that_vanishes_under_its_map_costs_its_own_container_alone(tree: Any, reader: Reader) -> None:
    _, second, third = settled(tree, reader)
    for _ in range(3):
        content = (tree.folder(second) / grants.USAGE_FILE).read_bytes()
        os.truncate(tree.folder(second) / grants.USAGE_FILE, 0)
        tree.charge(third, 0, reader.folders.containers()[0].taken[0].compute_ns + 1_000_000)
        assert reader.look() == fresh(tree.root)
        (tree.folder(second) / grants.USAGE_FILE).write_bytes(content)
        assert reader.look() == fresh(tree.root)
    # It is never mapped again, whatever its programs do to the file.
    assert reader.again() == [second.pod]


def test_so_does_a_policy_beside_containers_whose_rate_varies(tree: Any, reader: Reader) -> None:
    first, second, _ = settled(tree, reader)
    tree.limit(first, 512, 25, 2, ComputePolicy.SOFT)
    tree.tell(first, 80, time.monotonic_ns() + 3_600_000_000_000)
    reader.settle()
    os.truncate(tree.folder(second) / grants.POLICY_FILE, 0)
    for _ in range(2):
        assert reader.look() == fresh(tree.root)
    assert reader.again() == [second.pod]


def test_a_file_that_is_cut_where_it_has_zeros_is_noticed_in_its_turn(tree: Any) -> None:
    reader = Reader(tree.root, turns=4)
    try:
        grant = tree.grant()
        tree.add(grant)
        for _ in range(8):
            reader.look()
        os.truncate(tree.folder(grant) / grants.USAGE_FILE, 50)
        for _ in range(4):
            reader.look()
        (container,) = reader.folders.containers()
        assert list(container.unreadable) == [grants.USAGE_FILE]
        assert reader.look() == fresh(tree.root)
    finally:
        reader.close()


def test_each_has_its_turn(tree: Any) -> None:
    reader = Reader(tree.root, turns=2)
    try:
        made = [tree.grant(f"pod-{number}") for number in range(5)]
        for grant in made:
            tree.add(grant)
        deadline = time.monotonic() + 60
        while sorted(reader.again() + reader.again()) != sorted(grant.pod for grant in made):
            assert time.monotonic() < deadline
    finally:
        reader.close()


@pytest.mark.parametrize("seed", range(3))
def test_anything_in_any_order(tree: Any, reader: Reader, seed: int) -> None:
    dice = random.Random(seed)
    made = list(settled(tree, reader, 6))
    for turn in range(200):
        grant = dice.choice(made)
        act = dice.randrange(8)
        if not tree.folder(grant).exists() or act == 0:
            tree.add(tree.grant(grant.pod, gpus=tuple(dice.sample(range(4), 2))))
        elif act == 1:
            shutil.rmtree(tree.folder(grant).parent)
        elif act == 2:
            tree.limit(grant, 100 + turn, dice.randrange(1, 100), 2 * turn + 2, dice.choice(list(ComputePolicy)))
        elif act == 3:
            # Shorter, and longer than all that counts: what is cut between shows only where it wasn't zero.
            os.truncate(tree.folder(grant) / grants.USAGE_FILE, dice.choice([0, 5000, usage.SIZE]))
        else:
            tree.charge(grant, dice.randrange(2), turn * 20_000_000_000, turn, turn)
        made = [tree.grant(one.pod, gpus=one_gpus(tree, one)) for one in made]
        if dice.random() < 0.5:
            assert reader.look() == fresh(tree.root), turn


def one_gpus(tree: Any, grant: grants.Grant) -> tuple[int, ...]:
    """The GPUs that its folder's grant names now."""
    file = tree.folder(grant) / grants.GRANT_FILE
    shares = grants.load(file.read_text()).shares if file.exists() else grant.shares
    return tuple(int(share.gpu.removeprefix("GPU-")) for share in shares)


def test_descriptors_are_bounded_and_given_back(tree: Any) -> None:
    before = descriptors()
    reader = Reader(tree.root, open_files=2)
    idle = descriptors()
    settled_of = [tree.grant(f"pod-{number}") for number in range(5)]
    for grant in settled_of:
        tree.add(grant)
    deadline = time.monotonic() + 60
    while descriptors() < idle + 2 * DESCRIPTORS:
        reader.look()
        assert time.monotonic() < deadline, "two containers are never mapped"
    for _ in range(3):
        assert reader.look() == fresh(tree.root)
        # The copies have their own memory, which is mapped too.
        assert descriptors() <= idle + 2 * DESCRIPTORS + 1
    reader.close()
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
