"""Which limits of its own the driver gets for control groups."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import breaches, driver_limits
from unigpu.driver_limits import Hard, PodGroup, PodShares, Step, hard_limit
from unigpu.units import Bytes, GpuUuid, MiB, to_bytes

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
TOTAL = to_bytes(MiB(24576))
TOTALS = {A: TOTAL, B: TOTAL}
GROUP = PodGroup("uid", "/pod", {"1": "/pod/1", "2": "/pod/2"})


def mib(amount: int) -> Bytes:
    return to_bytes(MiB(amount))


def hard(amount: int) -> Bytes:
    return hard_limit(mib(amount), TOTAL)


@pytest.mark.parametrize("amount", [1, 1024, 20_000, 24_576])
def test_the_driver_refuses_where_a_breach_begins(amount: int) -> None:
    found = hard(amount)
    assert mib(amount) <= found <= TOTAL
    assert found in (TOTAL, mib(amount) + breaches.tolerance(mib(amount), 1))


def test_a_container_has_its_share_once_its_name_is_known() -> None:
    shares = PodShares({"main": {A: mib(2048)}, "side": {A: mib(1024)}}, {A: mib(3072)}, {"1": "main"})
    assert driver_limits.wanted([GROUP], {"uid": shares}, TOTALS) == {
        "/pod": {A: hard(3072)},
        "/pod/1": {A: hard(2048)},
        "/pod/2": {A: hard(3072)},
    }


def test_a_container_without_a_grant_has_none_once_its_name_is_known() -> None:
    shares = PodShares({"main": {A: mib(2048)}}, {A: mib(2048)}, {"1": "main", "2": "proxy"})
    assert driver_limits.wanted([GROUP], {"uid": shares}, TOTALS).keys() == {"/pod", "/pod/1"}


def test_whole_gpus_and_gpus_without_limits_have_none() -> None:
    shares = PodShares({"main": {A: None, B: mib(2048)}}, {A: None, B: mib(2048)}, {"1": "main"})
    found = driver_limits.wanted([GROUP], {"uid": shares}, TOTALS)
    assert found["/pod/1"] == found["/pod"] == {B: hard(2048)}
    assert driver_limits.wanted([GROUP], {"uid": shares}, {A: TOTAL}) == {}
    assert driver_limits.wanted([GROUP], {}, TOTALS) == {}


def test_limits_are_set_before_others_are_cleared() -> None:
    before: dict[str, Hard] = {"/pod": {A: hard(1), B: hard(1)}, "/gone": {A: hard(1)}}
    wanted: dict[str, Hard] = {"/pod": {A: hard(2)}, "/pod/1": {A: hard(1)}, "/not-there": {A: hard(1)}}
    there = {"/pod", "/pod/1"}
    steps = list(driver_limits.steps(wanted, before, there))
    assert steps == [Step("/pod", A, hard(2)), Step("/pod/1", A, hard(1)), Step("/pod", B, None)]
    assert driver_limits.after(before, steps, there) == {"/pod": {A: hard(2)}, "/pod/1": {A: hard(1)}}


LIMITS = st.dictionaries(
    st.sampled_from(["/a", "/b", "/c"]), st.dictionaries(st.sampled_from([A, B]), st.integers(1, 3), min_size=1)
)


@given(wanted=LIMITS, before=LIMITS, there=st.sets(st.sampled_from(["/a", "/b", "/c"])), lost=st.integers(0, 5))
def test_steps_lead_to_what_is_wanted_and_no_further(wanted: Any, before: Any, there: set[str], lost: int) -> None:
    steps = list(driver_limits.steps(wanted, before, there))
    halfway = driver_limits.after(before, steps[lost:], there)
    rest = list(driver_limits.steps(wanted, halfway, there))
    assert set(rest) == set(steps[:lost])
    found = driver_limits.after(halfway, rest, there)
    assert found == {folder: limits for folder, limits in wanted.items() if folder in there}
    assert list(driver_limits.steps(wanted, found, there)) == []
