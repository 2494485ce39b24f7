"""What GPU time is earned, taken and owed, at which rate, and what a launch is taken to cost: tables."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT

SOURCES = [str(ROOT / f"libvgpu/compute/{name}.c") for name in ("token_bucket", "rate", "estimate", "cost_cache")]
MS = 1_000_000
SECOND = 1000 * MS
BURST = 10 * MS
CLEAR, UNCERTAIN, CONTENDED, STREAMS = 0, 1, 2, 4
GUESSED = (0, UNCERTAIN, 0, 0, 20)
"""What follows a sample's length."""
UNLIMITED, HARD, SOFT = 0, 1, 2


@pytest.fixture(scope="module")
def ask(compiled: Callable[..., Path]) -> Callable[..., list[list[int]]]:
    program = compiled("token_bucket", *SOURCES)

    def answers(*questions: str) -> list[list[int]]:
        done = subprocess.run([program], input="\n".join(questions) + "\n", capture_output=True, text=True, check=True)
        return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]

    return answers


@pytest.mark.parametrize(
    ("balance", "earned", "now", "rate", "most", "after"),
    [
        pytest.param(0, 0, 10 * MS, 3000, BURST, (3 * MS, 10 * MS), id="thirty percent of ten milliseconds"),
        pytest.param(-5 * MS, 0, 10 * MS, 3000, BURST, (-2 * MS, 10 * MS), id="debt is repaid by time"),
        pytest.param(9 * MS, 0, 10 * MS, 3000, BURST, (BURST, 10 * MS), id="no more than the burst is kept"),
        pytest.param(20 * MS, 0, 10 * MS, 3000, BURST, (20 * MS, 10 * MS), id="what was given back stays"),
        pytest.param(0, SECOND, SECOND, 3000, BURST, (0, SECOND), id="no time has passed"),
        pytest.param(0, SECOND, SECOND - 5, 3000, BURST, (0, SECOND), id="another processor's clock"),
        pytest.param(-9 * MS, 9 * SECOND, SECOND, 3000, BURST, (0, SECOND), id="another boot's clock"),
        pytest.param(-9 * MS, 0, SECOND, 0, BURST, (BURST, SECOND), id="without a limit nothing is owed"),
        pytest.param(0, 0, 1, 3000, BURST, (0, 0), id="less than a nanosecond isn't lost"),
        pytest.param(0, 0, 7, 3000, BURST, (2, 7), id="nor what is beyond whole ones"),
        pytest.param(0, 0, 20_000 * SECOND, 10000, 10_000 * SECOND, (3600 * SECOND, 20_000 * SECOND), id="an hour"),
    ],
)
def test_earning(
    ask: Callable[..., list[list[int]]],
    balance: int,
    earned: int,
    now: int,
    rate: int,
    most: int,
    after: tuple[int, int],
) -> None:
    assert ask(f"earn {balance} {earned} {now} {rate} {most}") == [list(after)]


@pytest.mark.parametrize("rate", [500, 1234, 3000, 9500, 9999])
def test_never_more_and_hardly_less_however_often_it_is_asked(ask: Callable[..., list[list[int]]], rate: int) -> None:
    balance = earned = 0
    moments = range(0, 100_000, 4999)
    for now in moments:
        ((balance, earned),) = ask(f"earn {balance} {earned} {now} {rate} {BURST}")
    due = moments[-1] * rate / 10_000
    assert due - 2 * len(moments) <= balance <= due


@pytest.mark.parametrize(
    ("balance", "cost", "wish", "floor", "taken"),
    [
        pytest.param(MS, 1000, 500_000, 0, 500_000, id="as much ahead as is wished"),
        pytest.param(200_000, 1000, 500_000, 0, 200_000, id="or as is there"),
        pytest.param(1, 1000, 500_000, 0, 1000, id="the whole cost, into debt"),
        pytest.param(0, 1000, 500_000, 0, 0, id="not from nothing"),
        pytest.param(-5, 1000, 500_000, 0, 0, id="not from debt"),
        pytest.param(99 * MS, 200 * MS, 200 * MS, 100 * MS, 0, id="not what must be there"),
        pytest.param(101 * MS, 200 * MS, 200 * MS, 100 * MS, 200 * MS, id="and is enough"),
    ],
)
def test_taking(
    ask: Callable[..., list[list[int]]], balance: int, cost: int, wish: int, floor: int, taken: int
) -> None:
    assert ask(f"take {balance} {cost} {wish} {floor}") == [[taken, balance - taken]]


def test_what_must_be_there_and_what_is_kept(ask: Callable[..., list[list[int]]]) -> None:
    costs = (5_000, BURST, 30 * MS, 200 * MS)
    assert [ask(f"floor {cost}")[0][0] for cost in costs] == [0, 0, 10 * MS, 10 * MS]
    assert [ask(f"most {cost} 0")[0][0] for cost in costs] == [BURST, BURST, 11 * MS, 11 * MS]
    assert [ask(f"most {cost} 1")[0][0] for cost in costs] == [5 * BURST] * 4
    kept = ask("most 0 1")[0][0]
    assert all(kept > ask(f"floor {cost}")[0][0] for cost in costs), (
        "a process that estimates a high cost is served too"
    )
    assert all(ask(f"most {cost} 0") > ask(f"floor {cost}") for cost in costs)


@pytest.mark.parametrize(
    ("done", "parts"),
    [  # own, elapsed, now, each in ms; what there was room for
        pytest.param([(50, 50, 1000), (50, 50, 1050)], [50, 50], id="one after another"),
        pytest.param([(50, 50, 1000), (50, 50, 1004), (50, 50, 1008)], [50, 4, 4], id="side by side"),
        pytest.param([(50, 50, 1000), (50, 50, 1047), (50, 50, 1100)], [50, 47, 50], id="one seen early"),
        pytest.param([(10, 10, 1000), (10, 10, 1018), (10, 10, 1020)], [10, 10, 10], id="one seen late"),
        pytest.param(
            [(50, 50, 1000), (50, 199, 1199), (50, 199, 1199), (50, 199, 1200), (50, 199, 1200)],
            [50, 50, 50, 50, 50],
            id="four in turns, that end together",
        ),
        pytest.param([(50, 50, 1000), (50, 50, 9000), (50, 50, 9000)], [50, 50, 0], id="after a pause"),
        pytest.param([(50, 50, 1000), (50, 50, 1000), (50, 50, 999)], [50, 0, 0], id="seen by one that looked before"),
        pytest.param([(50, 50, 9000), (50, 50, 1000)], [50, 50], id="another boot's clock"),
    ],
)
def test_what_there_was_room_for(
    ask: Callable[..., list[list[int]]], done: list[tuple[int, int, int]], parts: list[int]
) -> None:
    asked = [f"part {own * MS} {elapsed * MS} {now * MS}" for own, elapsed, now in done]
    assert ask(*asked) == [[part * MS] for part in parts]


def test_work_of_different_lengths_does_not_take_each_others_time(ask: Callable[..., list[list[int]]]) -> None:
    assert ask(*[f"class {ms * MS}" for ms in (1, 49, 50, 99, 100, 800, 3199, 3200, 999_999)]) == [
        [number] for number in (0, 0, 1, 1, 2, 5, 6, 7, 7)
    ]


def test_time_until_it_is_earned(ask: Callable[..., list[list[int]]]) -> None:
    assert ask(f"time {-3 * MS} 0 3000", "time 5 5 3000", f"time 0 {MS} 0") == [[10 * MS], [0], [0]]
    assert ask("time 0 1 3000") == [[4]], "never a nanosecond too early"


@pytest.mark.parametrize(
    ("policy", "rate"),
    [  # flags, compute, cores, ceiling, now, looked; the clock
        pytest.param((2, HARD, 30, 30, 0, 0, SECOND), 3000, id="hard"),
        pytest.param((2, HARD, 30, 90, 0, 0, SECOND), 3000, id="hard: the share is the ceiling"),
        pytest.param((2, SOFT, 30, 90, 0, 0, SECOND), 9000, id="soft without an agent"),
        pytest.param((2, SOFT, 30, 0, 0, 0, SECOND), 3000, id="soft, its ceiling not said"),
        pytest.param((2, SOFT, 30, 90, 0, SECOND, SECOND), 3000, id="soft, nothing lent"),
        pytest.param((2, SOFT, 30, 90, 5550, SECOND, 2 * SECOND - 1), 5550, id="soft, lent"),
        pytest.param((2, SOFT, 30, 90, 5550, SECOND, 2 * SECOND), 3000, id="soft, by an agent that is gone"),
        pytest.param((2, HARD, 30, 30, 100, SECOND, SECOND), 100, id="yields to another"),
        pytest.param((0, UNLIMITED, 0, 0, 100, SECOND, SECOND), 100, id="an unlimited one of low priority yields too"),
        pytest.param((2, SOFT, 30, 100, 10000, SECOND, SECOND), 0, id="the whole GPU is lent"),
        pytest.param((2, UNLIMITED, 30, 30, 0, 0, SECOND), 0, id="unlimited"),
        pytest.param((1, HARD, 30, 30, 0, 0, SECOND), 0, id="not enforced"),
        pytest.param((2, HARD, 0, 0, 0, 0, SECOND), 0, id="no share said"),
        pytest.param((2, HARD, 100, 100, 0, 0, SECOND), 0, id="all of the GPU"),
    ],
)
def test_rate(ask: Callable[..., list[list[int]]], policy: tuple[int, ...], rate: int) -> None:
    assert ask(f"rate {' '.join(map(str, policy))}") == [[rate]]


@pytest.mark.parametrize(
    ("samples", "value"),
    [
        pytest.param([], 0, id="unknown"),
        pytest.param([(0, 700, 0, CLEAR)], 700, id="an upper bound is better than nothing"),
        pytest.param([(0, 700, 0, CLEAR), (0, 500, 0, CLEAR)], 500, id="the lower of two"),
        pytest.param([(0, 500, 1, CLEAR), (0, 700, 1, CLEAR)], 600, id="alone: durations vary with the data"),
        pytest.param([(0, 500, 1, CLEAR), (0, 900, 0, CLEAR)], 500, id="what is exact counts alone"),
        pytest.param([(0, 500, 1, CONTENDED), (0, 700, 1, CONTENDED)], 500, id="next to others: the shortest"),
        pytest.param([(0, 600, 1, CLEAR), (SECOND, 500, 1, CONTENDED)], 600, id="disturbed ones don't count then"),
        pytest.param([(0, 500, 1, UNCERTAIN), (0, 520, 1, UNCERTAIN)], 510, id="uncertain, and near"),
        pytest.param([(0, 500, 1, UNCERTAIN), (0, 999, 1, UNCERTAIN)], 500, id="uncertain, and far"),
        pytest.param([(0, 500, 1, CLEAR), (9 * SECOND, 700, 1, CLEAR)], 700, id="long ago"),
        pytest.param([(0, 0, 1, CLEAR)], 1, id="never nothing"),
        pytest.param([(0, 450, 1, UNCERTAIN), (0, 440, *GUESSED)], 450, id="a guess doesn't undercut what is exact"),
        pytest.param([(0, 900, 1, CONTENDED), (0, 440, *GUESSED)], 460, id="but bounds what was disturbed"),
        pytest.param([(0, 900, 0, UNCERTAIN), (0, 440, *GUESSED)], 440, id="a guess is better than an upper bound"),
        pytest.param([(0, 400, 0, UNCERTAIN), (0, 440, *GUESSED)], 400, id="unless the bound is lower"),
    ],
)
def test_estimate(ask: Callable[..., list[list[int]]], samples: list[tuple[int, ...]], value: int) -> None:
    added = [f"sample {' '.join(map(str, sample))}" for sample in samples]
    last = samples[-1][0] if samples else 0
    assert ask(*added, f"estimate {last}") == [[value, 0]]


def test_a_hundred_thousand_shapes_keep_their_own_costs_or_none(ask: Callable[..., list[list[int]]]) -> None:
    ((unknown, wrong, in_use),) = ask("shapes 100000")
    assert wrong == 0
    assert in_use == 1000
    assert 90_000 <= unknown < 100_000


def test_next_to_other_streams_what_is_near_the_shortest_counts(ask: Callable[..., list[list[int]]]) -> None:
    assert ask(f"sample 0 500 1 {STREAMS}", f"sample 0 520 1 {STREAMS}", f"sample 0 900 1 {STREAMS}", "estimate 0") == [
        [510, 0]
    ]
    assert ask(f"sample 0 900 1 {CLEAR}", f"sample 9 500 1 {STREAMS}", "estimate 9") == [[500, 0]]


def test_only_the_last_samples_count(ask: Callable[..., list[list[int]]]) -> None:
    added = [f"sample 0 {900 if place < 50 else 400} 1 {CLEAR}" for place in range(100)]
    assert ask(*added, "estimate 0") == [[400, 0]]


@pytest.mark.parametrize(
    ("first", "later", "value"),
    [
        pytest.param([500] * 5 + [510], 0, 510, id="many in a row are stretched"),
        pytest.param([500] * 5 + [510, 100], 0, 510, id="also next to one that was measured wrongly"),
        pytest.param([500] * 5, 0, 5000, id="a few were perhaps measured wrongly"),
        pytest.param([500] * 6, 4 * SECOND, 5000, id="after a while the launches are longer"),
    ],
)
def test_a_row_of_stretched_samples_does_not_push_out_what_was_confirmed(
    ask: Callable[..., list[list[int]]], first: list[int], later: int, value: int
) -> None:
    added = [f"sample 0 {ns} 1 {CONTENDED}" for ns in first]
    added += [f"sample {later} {ns} 1 {CONTENDED}" for ns in (5000, 7000, 9000, 12000) * 20]
    assert ask(*added, f"estimate {later}") == [[value, 0]]


def test_side_by_side_a_launch_costs_no_more_than_alone(ask: Callable[..., list[list[int]]]) -> None:
    alone, run = f"sample 0 500 1 {CONTENDED}", f"sample 0 9000 1 {CONTENDED} 0 0 0 1"
    assert ask(*[alone] * 6, run, "estimate 0") == [[500, 0]]
    assert ask(alone, run, "estimate 0") == [[9000, 0]], "one may have been measured wrongly"
    assert ask(f"sample 0 9000 1 {CONTENDED}", f"sample 0 500 1 {CONTENDED} 0 0 0 1", "estimate 0") == [[500, 0]]
    assert ask(f"sample 0 500 1 {CONTENDED} 0 0 0 1", f"sample 0 9000 1 {CONTENDED}", "estimate 0") == [[9000, 0]]


def test_what_was_charged_too_much_is_found_once_it_is_known(ask: Callable[..., list[list[int]]]) -> None:
    added = [f"sample 0 {ns} 1 {CONTENDED} {ns}" for ns in (900, 700, 500)]
    assert ask(*added, "estimate 0") == [[500, 600]]


@pytest.mark.parametrize(
    ("samples", "settled"),
    [  # at, ns, exact, view, charged, behind; settled, clear, firmly so
        pytest.param([], (0, 0, 0), id="nothing is known"),
        pytest.param([(0, 500, 1, CONTENDED, 0, 1)] * 2, (0, 0, 0), id="two may be wrong together"),
        pytest.param([(0, 500, 1, CONTENDED, 0, 1)] * 3, (1, 0, 0), id="three agree"),
        pytest.param([(0, 500, 1, UNCERTAIN, 0, 1)] * 3, (1, 0, 0), id="three agree, and others are unknown"),
        pytest.param([(0, 500, 1, CONTENDED, 0, 0)] * 9, (0, 0, 0), id="all may have waited for another's turn"),
        pytest.param([(0, ns, 1, CONTENDED, 0, 1) for ns in (500, 520, 540)], (0, 0, 0), id="too far apart"),
        pytest.param([(0, 9, 1, CONTENDED, 0, 1)] + [(0, 500, 1, CONTENDED, 0, 1)] * 3, (0, 0, 0), id="one is shorter"),
        pytest.param([(0, 500, 1, CONTENDED, 0, 1)] * 3 + [(9 * SECOND, 500, 1, CONTENDED, 0, 1)], (0, 0, 0), id="old"),
        pytest.param([(0, 500, 1, CLEAR, 0, 0)], (1, 1, 0), id="one without others is enough, for the time being"),
        pytest.param([(0, 500, 0, CLEAR, 0, 0)], (0, 0, 0), id="not an upper bound"),
        pytest.param([(0, 5, 1, CLEAR, 0, 0), (SECOND, 5, 1, CLEAR, 0, 0)], (1, 1, 1), id="clear for long enough"),
        pytest.param([(0, 5, 1, CLEAR, 0, 0), (99 * MS, 5, 1, CONTENDED, 0, 0)], (0, 0, 0), id="others had been there"),
        pytest.param([(0, 5, 1, CLEAR, 0, 0), (SECOND, 5, 1, CONTENDED, 0, 0)], (1, 1, 1), id="others came later"),
    ],
)
def test_when_more_samples_would_change_little(
    ask: Callable[..., list[list[int]]], samples: list[tuple[int, ...]], settled: tuple[int, int, int]
) -> None:
    added = [f"sample {' '.join(map(str, sample))}" for sample in samples]
    last = samples[-1][0] if samples else 0
    assert ask(*added, f"settled {last}") == [list(settled)]


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        pytest.param((f"add 0 900 1 {CONTENDED}", "passed 10 9000", f"add 1 500 1 {CONTENDED}"), [0, -4000], id="all"),
        pytest.param(
            (f"add 0 900 1 {UNCERTAIN}", "passed 10 9000", f"add 1 500 1 {CLEAR}"), [0, -4000], id="alone now"
        ),
        pytest.param((f"add 0 500 1 {CONTENDED}", "passed 10 5000", f"add 1 900 1 {CONTENDED}"), [0, 0], id="longer"),
        pytest.param((f"add 0 900 1 {CLEAR}", "passed 10 9000", f"add 1 500 1 {CLEAR}"), [0, 0], id="only shorter now"),
        pytest.param(
            (f"add 0 900 1 {CLEAR}", "passed 10 9000", f"add 1 500 1 {CONTENDED}"), [0, -4000], id="others were there"
        ),
        pytest.param(
            (f"add 0 900 1 {CONTENDED}", "passed 10 9000", *[f"add 1 500 1 {CONTENDED}"] * 2), [0, -4000, 0], id="once"
        ),
        pytest.param(
            (f"add 0 900 1 {CONTENDED}", "passed 10 9000", "passed -4 -3600", f"add 1 500 1 {CONTENDED}"),
            [0, -2400],
            id="not for those that failed",
        ),
        pytest.param(
            (f"add 0 900 1 {CONTENDED}", "passed 10 9000", "fork", f"add 1 500 1 {CONTENDED}"),
            [0, 0],
            id="the parent's",
        ),
        pytest.param(
            (f"add 0 {2 * MS} 1 {CONTENDED}", f"passed 1000 {2 * SECOND}", f"add 1 {MS} 1 {CONTENDED}"),
            [0, -SECOND // 2],
            id="not for what is long ago",
        ),
    ],
)
def test_what_launches_were_charged_too_much(
    ask: Callable[..., list[list[int]]], told: tuple[str, ...], missing: list[int]
) -> None:
    assert ask(*told) == [[each] for each in missing]
