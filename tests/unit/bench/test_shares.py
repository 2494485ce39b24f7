"""How measured shares are judged."""

from bench.compute.shares import Measured, Setup, judge


def test_a_share_is_judged_by_the_worst_container() -> None:
    row = judge(Setup((30, 70), {"kernel": 1}), [Measured((30.2, 69.1), (1.0, 1.0), 0)], "pair")
    assert round(row.verdict.measured, 3) == 0.9
    assert row.verdict.held


def test_what_programs_cant_use_without_limits_they_neednt_get_with_them() -> None:
    setup, found = Setup((30, 70), {"kernel": 1, "ahead": 16}), [Measured((30.0, 68.0), (1.0, 1.0), 0)]
    assert not judge(setup, found, "pair").verdict.held
    bound = judge(setup, found, "pair", capable=98.0)
    assert round(bound.verdict.measured, 3) == round(70 * 0.98 - 68, 3)
    assert "98.0 %" in bound.note


def test_more_than_the_limit_is_an_error_whatever_programs_reach() -> None:
    row = judge(Setup((50,), {"kernel": 1, "ahead": 1}), [Measured((51.5,), (1.0,), 0)], "one", capable=20.0)
    assert row.verdict.measured == 1.5
