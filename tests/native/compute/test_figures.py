"""What the benchmark makes of samples."""

import itertools

import pytest

from bench.compute import cells, criteria, lending, testbed
from bench.compute.cells import MS
from bench.compute.series import Series


def test_each_two_values_of_the_matrix_meet_in_the_part_that_is_run() -> None:
    factors = (cells.LIMITS, cells.KERNELS, cells.MULTIPROCESSORS, cells.GRIDS, cells.PROCESSES)
    rows = [(cell.limit, cell.kernel, cell.multiprocessors, cell.grid, cell.processes) for cell in cells.covering()]
    for first, second in itertools.combinations(range(len(factors)), 2):
        met = {(row[first], row[second]) for row in rows}
        assert met == set(itertools.product(factors[first], factors[second]))
    assert len(rows) < len(cells.everything()) / 20


def stepped(*levels: tuple[int, int]) -> Series:
    """Samples every 10 ms of a group 7 that has (percent of the GPU) for (ms), one after another."""
    series, at, busy = Series(), 0, 0
    series.add(f"{at} {busy} 7={busy}")
    for percent, length in levels:
        for _ in range(0, length, 10):
            at, busy = at + 10 * MS, busy + percent * MS // 10
            series.add(f"{at} {busy} 7={busy} 9=0")
    return series


def test_a_share_is_that_between_two_moments() -> None:
    series = stepped((30, 1000), (0, 500), (70, 500))
    assert series.share(7, 0, 1000 * MS) == pytest.approx(30)
    assert series.share(7, 500 * MS, 1500 * MS) == pytest.approx(15)
    assert series.share(7, 1503 * MS, 1997 * MS) == pytest.approx(70), "between samples"
    assert series.share(9, 0, 2000 * MS) == 0
    assert series.shares(7, 0, 2000 * MS, 500 * MS) == pytest.approx([30, 30, 0, 70])
    with pytest.raises(ValueError, match="series ends"):
        series.busy(7, 2001 * MS)


def test_a_loan_counts_from_when_all_of_it_is_there() -> None:
    series = stepped((30, 500), (30, 150), (100, 2000))
    assert lending.delay(series, 500 * MS, {7: (90, 101)}) == pytest.approx(150 * MS, abs=15 * MS)
    assert lending.delay(series, 1000 * MS, {7: (0, 40)}) == criteria.SECOND, "it isn't given back"


def test_a_kernel_longer_than_the_tolerated_error_is_tolerated() -> None:
    assert not criteria.share(33, 30, MS, criteria.WINDOW, 2).held
    assert criteria.share(33.9, 30, 200 * MS, criteria.WINDOW, 2).held
    assert not criteria.share(34.1, 30, 200 * MS, criteria.WINDOW, 2).held


def test_a_launch_may_wait_for_20_ms_or_for_what_it_costs() -> None:
    assert criteria.longest_wait(20 * MS, MS, 50, 1).held
    assert not criteria.longest_wait(21 * MS, MS, 50, 1).held
    assert criteria.longest_wait(1000 * MS, 100 * MS, 10, 1).held
    assert not criteria.longest_wait(1001 * MS, 100 * MS, 10, 1).held


def test_forks_report_as_one() -> None:
    text = (
        "launches 10 first 500 longest 9 settled 5 p50 1 p99 4 p999 9 late 1\n"
        "launches 20 first 400 longest 7 settled 6 p50 2 p99 3 p999 7 late 2\n"
        "launches 0 first 0 longest 0 settled 0 p50 0 p99 0 p999 0 late 0\n"
    )
    assert testbed.read_report(text) == testbed.Report(30, 400, 9, 6, 2, 4, 9, 2)
