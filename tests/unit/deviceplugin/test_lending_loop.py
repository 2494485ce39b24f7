"""The loop that lends, over real files: what it writes, how often it reads, and that damage doesn't end it."""

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deviceplugin.lending import lending_loop
from deviceplugin.lending.lending_loop import LendingLoop, LendingRound
from unigpu import grants, policy, usage
from unigpu.requests import ComputePolicy
from unigpu.units import Bytes, GpuUuid, Percent

GPUS = tuple(GpuUuid(f"GPU-{number}") for number in range(3))
HARD, SOFT, FREE = ComputePolicy.HARD, ComputePolicy.SOFT, ComputePolicy.UNLIMITED
INTERVAL = 50_000_000


class Container:
    """One container's folder, and its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.policy = folder / grants.POLICY_FILE
        self.usage = folder / grants.USAGE_FILE
        self.used = [0] * len(GPUS)
        self._sequence = 0
        with self.usage.open("wb") as file:
            file.truncate(usage.SIZE)

    def limit(
        self, compute: ComputePolicy, cores: int, ceiling: int = 0, *, gpus: tuple[int, ...] = (0,), priority: int = 0
    ) -> None:
        limits = tuple(
            policy.GpuLimit(GPUS[gpu], Bytes(1 << 30), Percent(cores), Percent(max(ceiling, cores))) for gpu in gpus
        )
        enforced = compute is not FREE or priority > 0
        content = policy.pack(policy.Policy(limits, True, enforced, compute, priority), self._sequence)
        self._sequence += 2
        if not self.policy.exists():
            self.policy.write_bytes(content)
        with self.policy.open("r+b") as file:
            for start, end in policy.GUARDED:
                file.seek(start)
                file.write(content[start:end])
            file.seek(policy.SEQUENCE_OFFSET)
            file.write(content[policy.SEQUENCE_OFFSET : policy.SEQUENCE_OFFSET + 4])

    def work(self, milliseconds: float, *, gpu: int = 0, waits: bool = False) -> None:
        """As libvgpu charges it."""
        self.used[gpu] += round(milliseconds * 1e6)
        with self.usage.open("r+b") as file:
            file.write(struct.pack("<II", usage.MAGIC, usage.VERSION))
            file.seek(usage.COMPUTE_OFFSET + gpu * usage.COMPUTE_SIZE + 16)
            file.write(struct.pack("<Q", self.used[gpu]))
            file.seek(usage.COMPUTE_OFFSET + gpu * usage.COMPUTE_SIZE + 64)
            file.write(struct.pack("<II", 5 if waits else 4, 4))

    @property
    def live_state(self) -> tuple[float, float]:
        """`now` and `others` of the first GPU."""
        return policy.read_live_state(self.policy.read_bytes(), 0)

    @property
    def sampled_at(self) -> int:
        found: int = policy.HEARTBEAT.unpack_from(self.policy.read_bytes(), policy.HEARTBEAT_OFFSET)[0]
        return found


class Node:
    """Containers' folders, and a loop whose clock stands still between looks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1_000_000_000
        self.round = LendingRound(lambda: self.now)
        self.folders: frozenset[Path] = frozenset()

    def add(self, name: str, compute: ComputePolicy, cores: int, ceiling: int = 0, **more: object) -> Container:
        made = Container(self.root / name / "main")
        made.limit(compute, cores, ceiling, **more)  # type: ignore[arg-type]
        self.folders |= {made.folder}
        return made

    def run(self, elapsed: int = INTERVAL) -> float | None:
        self.now += elapsed
        return self.round.run(self.folders)

    def changed(self) -> None:
        """As the agent tells it."""
        self.folders = frozenset(list(self.folders))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.round.close()


def busy(*containers: Container) -> None:
    for one in containers:
        one.work(20, waits=True)


def test_lent_and_given_back(node: Node) -> None:
    soft, hard = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 70)
    node.run()
    for _ in range(6):
        busy(soft, hard)
        assert node.run() == lending_loop.PACE
    assert soft.live_state == pytest.approx((30, 40))
    assert hard.live_state == pytest.approx((0, 40))
    assert soft.sampled_at == hard.sampled_at == node.now
    hard.work(0)
    for _ in range(2):
        busy(soft)
        node.run()
    assert soft.live_state[0] == 100
    busy(soft, hard)
    node.run()
    assert soft.live_state[0] == 30


def test_low_priority_yields(node: Node) -> None:
    high, low = node.add("high", FREE, 0), node.add("low", FREE, 0, priority=1)
    node.run()
    busy(low)
    node.run()
    assert low.live_state[0] == 0
    busy(high, low)
    node.run()
    assert low.live_state[0] == 1
    assert high.live_state[0] == 0


def test_alone_it_has_its_ceiling_and_knows_that_nobody_else_works(node: Node) -> None:
    alone = node.add("alone", SOFT, 30, 80)
    assert node.run() == lending_loop.PACE_IDLE
    assert alone.live_state == pytest.approx((80, 0))
    alone.work(20, waits=True)
    assert node.run() == lending_loop.PACE_IDLE
    assert alone.sampled_at == node.now


@pytest.mark.parametrize(
    ("policies", "pace"),
    [
        ([], None),
        ([HARD], lending_loop.PACE_IDLE),
        ([HARD, HARD], lending_loop.PACE_IDLE),
        ([HARD, SOFT], lending_loop.PACE_IDLE_LENDING),
    ],
)
def test_pace_at_rest(node: Node, policies: list[ComputePolicy], pace: float | None) -> None:
    for number, compute in enumerate(policies):
        node.add(str(number), compute, 30, 100)
    assert node.run() == pace


@pytest.mark.parametrize(
    ("pace", "cost", "seconds"),
    [
        (lending_loop.PACE, 0.0002, 0.05),
        (lending_loop.PACE, 0.0018, 0.1),
        (lending_loop.PACE, 1.0, lending_loop.MAX_PACE),
        (lending_loop.PACE_IDLE_LENDING, 0.0002, 0.2),
        (lending_loop.PACE_IDLE_LENDING, 0.0015, 0.3),
        (lending_loop.PACE_IDLE_LENDING, 1.0, lending_loop.PACE_IDLE),
        (lending_loop.PACE_IDLE, 1.0, lending_loop.PACE_IDLE),
    ],
)
def test_rounds_that_cost_more_are_fewer(pace: float, cost: float, seconds: float) -> None:
    assert lending_loop.pause(pace, cost) == pytest.approx(seconds)


def test_slows_down_when_nobody_works_any_more(node: Node) -> None:
    one, _ = node.add("one", HARD, 30), node.add("other", HARD, 30)
    node.run()
    one.work(20)
    assert node.run() == lending_loop.PACE_REPORT_ONLY
    paces = [node.run() for _ in range(40)]
    assert paces[0] == lending_loop.PACE_REPORT_ONLY
    assert paces[-1] == lending_loop.PACE_IDLE


def test_one_that_was_killed_while_it_waited_waits_no_more(node: Node) -> None:
    soft, hard = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 70)
    for _ in range(6):
        busy(soft, hard)
        node.run()
    assert soft.live_state[0] == 30
    for _ in range(3):
        busy(soft)
        node.run()
    assert soft.live_state[0] == 100


def test_containers_come_and_go(node: Node) -> None:
    soft, hard = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 70)
    busy(soft, hard)
    node.run()
    busy(soft, hard)
    node.run()
    assert soft.live_state[0] == 30
    node.folders -= {hard.folder}
    node.run()
    assert soft.live_state == pytest.approx((100, 0))
    node.folders -= {soft.folder}
    assert node.run() is None


def test_limits_that_change_are_written_again(node: Node) -> None:
    soft, hard = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 70)
    node.run()
    assert soft.live_state[0] == 100
    soft.limit(HARD, 30)
    node.changed()
    node.run()
    assert soft.live_state[0] == 0
    hard.limit(SOFT, 50, 60)
    node.changed()
    node.run()
    assert hard.live_state[0] == 60


def shorten(path: Path) -> None:
    os.truncate(path, 100)


def scribble(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 2048)


def replace(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(b"")
    beside.rename(path)


@pytest.mark.parametrize("damage", [Path.unlink, shorten, scribble, replace])
@pytest.mark.parametrize("file", [grants.POLICY_FILE, grants.USAGE_FILE])
def test_goes_on_when_a_file_vanishes_or_is_damaged(node: Node, file: str, damage: Callable[[Path], None]) -> None:
    soft, hard, broken = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 40), node.add("broken", HARD, 30)
    for _ in range(3):
        busy(soft, hard, broken)
        node.run()
    broken.work(20)
    damage(broken.folder / file)
    node.changed()
    for _ in range(6):
        busy(soft, hard)
        node.run()
    assert soft.live_state[0] == 60
    hard.work(0)
    for _ in range(3):
        busy(soft)
        node.run(lending_loop.REOPEN_NS + 1)
    assert soft.live_state[0] == 100


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize(("file", "length"), [("policy", 100), ("policy", 0), ("usage", 100), ("usage", 0)])
def test_files_that_are_cut_between_two_rounds_cost_the_others_nothing(
    node: Node, file: str, length: int, works: bool
) -> None:
    soft, hard, broken = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 40), node.add("broken", HARD, 30)
    for _ in range(3):
        busy(soft, hard, broken)
        node.run()
    if works:
        broken.work(20)
    os.truncate(broken.folder / file, length)
    for _ in range(8):
        busy(soft, hard)
        node.run()
    assert soft.live_state[0] == 60
    assert soft.sampled_at == hard.sampled_at == node.now


async def test_on_its_thread(tmp_path: Path) -> None:
    node = Node(tmp_path)
    soft, hard = node.add("soft", SOFT, 30, 100), node.add("hard", HARD, 70)
    made = LendingLoop()
    running = asyncio.create_task(made.lend())
    made.observe(node.folders)

    async with asyncio.timeout(60):
        while soft.live_state[0] != 100:
            busy(soft)
            await asyncio.sleep(0.01)
        assert soft.sampled_at <= time.monotonic_ns()
        while soft.live_state[0] != 30:
            busy(soft, hard)
            await asyncio.sleep(0.01)
        hard.work(0)
        while soft.live_state[0] != 100:
            busy(soft)
            await asyncio.sleep(0.01)
        made.observe([])
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_goes_wrong_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_round: LendingRound, _folders: frozenset[Path]) -> float:
        raise RuntimeError("our own fault")

    monkeypatch.setattr(LendingRound, "run", fail)
    with pytest.raises(RuntimeError, match="our own fault"):
        await LendingLoop().lend()
