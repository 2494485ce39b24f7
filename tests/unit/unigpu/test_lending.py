"""Lending: how demands are estimated, and how a GPU's compute time is divided among them."""

from collections.abc import Sequence

import pytest

from unigpu import lending
from unigpu.lending import LEAST, ActivityEstimate, Claimant
from unigpu.requests import ComputePolicy

READING_NS = 50_000_000
HARD, SOFT, FREE = ComputePolicy.HARD, ComputePolicy.SOFT, ComputePolicy.UNLIMITED


def hard(cores: int, priority: int = 0) -> Claimant:
    return Claimant(HARD, cores, priority=priority)


def soft(cores: int, ceiling: int = 100, priority: int = 0) -> Claimant:
    return Claimant(SOFT, cores, ceiling, priority)


def free(priority: int = 0) -> Claimant:
    return Claimant(FREE, 0, priority=priority)


@pytest.mark.parametrize(
    ("claimants", "demands", "rates"),
    [
        pytest.param([hard(30), hard(70)], [30, 70], [0, 0], id="hard ones get no rate"),
        pytest.param([free(), hard(70)], [100, 70], [0, 0], id="unlimited yields nothing"),
        pytest.param([soft(30)], [100], [100], id="alone"),
        pytest.param([soft(30, 60)], [60], [60], id="alone, up to its ceiling"),
        pytest.param([soft(30, 0)], [30], [30], id="a ceiling of 0 is as cores"),
        pytest.param([soft(30), hard(70)], [100, 0], [100, 0], id="neighbour idle"),
        pytest.param([soft(30), hard(70)], [100, 70], [30, 0], id="neighbour works"),
        pytest.param([soft(30), hard(70)], [100, 20], [80, 0], id="neighbour uses some"),
        pytest.param([soft(30), hard(50)], [100, 50], [50, 0], id="unallocated time"),
        pytest.param([soft(30), free()], [100, 60], [40, 0], id="next to unlimited"),
        pytest.param([soft(30), free()], [100, 100], [30, 0], id="next to unlimited that takes all: the share stays"),
        pytest.param([soft(20), soft(40)], [100, 100], [100 / 3, 200 / 3], id="two: by their shares"),
        pytest.param([soft(20), soft(40), hard(40)], [100, 100, 0], [100 / 3, 200 / 3, 0], id="two lend a third's"),
        pytest.param([soft(20, 30), soft(40)], [30, 100], [30, 70], id="a ceiling leaves more to the other"),
        pytest.param([soft(20), soft(40)], [100, 10], [90, 40], id="one uses little: it may have its share at once"),
        pytest.param([soft(20), soft(40)], [0, 0], [100, 100], id="all idle: available to the first"),
        pytest.param([soft(50), soft(50)], [30, 20], [80, 70], id="room to grow for both"),
        pytest.param([hard(50), hard(50, 1)], [50, 50], [0, 0], id="enough for low priority"),
        pytest.param([hard(80), hard(50, 1)], [80, 50], [0, 20], id="low priority gets what is left"),
        pytest.param([hard(80), hard(50, 1)], [0, 50], [0, 0], id="low priority while the high rests"),
        pytest.param([soft(30), hard(70, 1)], [100, 70], [100, LEAST], id="low priority yields its share"),
        pytest.param([hard(60), soft(30, 100, 1)], [60, 100], [0, 40], id="low and soft gets what is left"),
        pytest.param([hard(95), soft(30, 100, 1)], [95, 100], [0, 5], id="low and soft, below its share"),
        pytest.param([hard(95), soft(30, 100, 1)], [0, 100], [0, 100], id="low and soft, while the high rests"),
        pytest.param([free(), free(1)], [100, 100], [0, LEAST], id="unlimited of low priority"),
        pytest.param([free(), free(1)], [40, 100], [0, 60], id="unlimited of low priority has the rest"),
        pytest.param([free(), free(1)], [0, 100], [0, 0], id="unlimited of low priority while the high rests"),
        pytest.param([hard(0), hard(0, 1)], [100, 100], [0, LEAST], id="no share is unlimited"),
        pytest.param([hard(60), hard(20, 1), hard(40, 1)], [60, 20, 40], [0, 40 / 3, 80 / 3], id="two low ones"),
        pytest.param([hard(50), hard(50, 1), hard(50, 2)], [50, 50, 50], [0, 0, LEAST], id="three priorities"),
        pytest.param([hard(50, 1), hard(50, 1)], [50, 50], [0, 0], id="low priority among themselves"),
        pytest.param(
            [Claimant(SOFT, 30, 100, enforced=False), soft(30)],
            [50, 100],
            [0, 50],
            id="not enforced, counts",
        ),
        pytest.param(
            [hard(80), Claimant(HARD, 50, priority=1, enforced=False)], [80, 100], [0, 0], id="not enforced, low"
        ),
    ],
)
def test_divide(claimants: list[Claimant], demands: list[float], rates: list[float]) -> None:
    assert lending.divide(claimants, demands) == pytest.approx(rates)


@pytest.mark.parametrize(
    ("claimants", "expected"),
    [
        ([hard(30), hard(70)], False),
        ([hard(30), free()], False),
        ([soft(30)], True),
        ([soft(0)], False),
        ([hard(30), hard(70, 1)], True),
        ([hard(30, 1), hard(70, 1)], False),
        ([hard(30), Claimant(HARD, 70, priority=1, enforced=False)], False),
    ],
)
def test_lends(claimants: list[Claimant], expected: bool) -> None:
    assert lending.lends(claimants) is expected
    if not expected:
        assert set(lending.divide(claimants, [100.0] * len(claimants))) == {0.0}


def after(
    readings: Sequence[tuple[float, bool]], most: float, estimate: ActivityEstimate = lending.IDLE
) -> ActivityEstimate:
    """Return the estimate after these readings: milliseconds charged in 50, and whether a launch waits."""
    for charged_ms, waiting in readings:
        estimate = lending.update_activity(estimate, round(charged_ms * 1e6), waiting, READING_NS, most)
    return estimate


@pytest.mark.parametrize(
    ("readings", "most", "demand"),
    [
        pytest.param([], 70, 0, id="never seen to work"),
        pytest.param([(20, False)], 70, 70, id="back from rest: all at once"),
        pytest.param([(0, True)], 70, 70, id="waits: all at once"),
        pytest.param([(0.5, False)], 70, 3, id="next to nothing isn't a return"),
        pytest.param([(5, False)] * 10, 70, 15, id="steady and small"),
        pytest.param([(20, False), (0, False)] * 10, 70, 27, id="long kernels, now and then"),
        pytest.param([(35, True)] * 10, 70, 70, id="at its share"),
        pytest.param([(34, False)] * 10, 70, 70, id="about its share"),
        pytest.param([(5, False)] * 10 + [(12, False)], 70, 70, id="much more: grows"),
        pytest.param([(5, False)] * 10 + [(7, False)], 70, 16, id="a little more, once"),
        pytest.param([(5, False)] * 10 + [(9, False)] * 2, 70, 70, id="a little more, twice: grows"),
        pytest.param([(35, True)] * 10 + [(5, False)] * 3, 70, 70, id="just calmed down"),
        pytest.param([(35, True)] * 10 + [(5, False)] * 9, 70, 15, id="calmed down a while ago"),
        pytest.param([(35, True)] * 10 + [(0, False)], 70, 70, id="quiet for one reading"),
        pytest.param([(35, True)] * 10 + [(0, False)] * 2, 70, 0, id="quiet for two readings"),
        pytest.param([(200, False)] + [(0, False)] * 3, 70, 70, id="a kernel of four readings still runs"),
        pytest.param([(200, False)] + [(0, False)] * 5, 70, 0, id="a kernel of four readings has ended"),
        pytest.param([(1e12, False)] + [(0, False)] * 21, 70, 0, id="an absurd charge is capped"),
        pytest.param([(-50, False)], 70, 0, id="an account that restarted"),
        pytest.param([(80, False), (-30, False), (0, False)], 70, 0, id="reserved and returned"),
    ],
)
def test_demand(readings: list[tuple[float, bool]], most: float, demand: float) -> None:
    assert after(readings, most).demand == pytest.approx(demand)


def test_an_idle_container_has_the_idle_estimate() -> None:
    assert after([(35, True)] * 10 + [(0, False)] * 10, 70) == lending.IDLE
    assert lending.update_activity(lending.IDLE, 10, True, 0, 70) == lending.IDLE


def test_neighbour_load() -> None:
    estimates = [after([(10, False)] * 4, 100), after([(25, False)] * 4, 100), lending.IDLE]
    assert lending.neighbour_load(estimates) == pytest.approx((50, 20, 70))
    assert lending.neighbour_load([estimates[0]]) == [0]


class Model:
    """Two containers of a GPU that each use their rate, or without one their share."""

    def __init__(self, claimants: list[Claimant]) -> None:
        self.claimants = claimants
        self.estimates = [lending.IDLE] * len(claimants)
        self.rates = lending.divide(claimants, [0.0] * len(claimants))

    def reading(self, *works: bool) -> list[float]:
        for place, (claimant, busy) in enumerate(zip(self.claimants, works, strict=True)):
            rate = self.rates[place] or claimant.cores
            self.estimates[place] = after(
                [(rate / 2, True) if busy else (0, False)], claimant.most, self.estimates[place]
            )
        self.rates = lending.divide(self.claimants, [estimate.demand for estimate in self.estimates])
        return self.rates


def test_a_share_is_lent_at_the_second_quiet_reading_and_returned_at_the_first_busy_one() -> None:
    model = Model([soft(30), hard(70)])
    for _ in range(10):
        model.reading(True, True)
    assert model.rates == [30, 0]
    assert model.reading(True, False) == [30, 0]
    assert model.reading(True, False) == [100, 0]
    assert model.reading(True, True) == [30, 0]


def test_low_priority_yields_at_the_first_reading_and_resumes_at_the_second_quiet_one() -> None:
    model = Model([hard(100), hard(50, 1)])
    assert model.reading(False, True) == [0, 0]
    assert model.reading(True, True) == [0, LEAST]
    assert model.reading(False, True) == [0, LEAST]
    assert model.reading(False, True) == [0, 0]
