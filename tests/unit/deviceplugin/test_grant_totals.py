"""The node's own books."""

import dataclasses

import pytest

from deviceplugin.allocation import grant_totals
from unigpu.allocations import Share
from unigpu.gpus import Gpu
from unigpu.grants import Grant
from unigpu.requests import Role
from unigpu.units import GpuUuid, MiB, Percent

GPU = GpuUuid("GPU-a")
GPUS = {GPU: Gpu(GPU, 0, 0, "Test", MiB(1000))}


def grant(
    pod: str, memory: int, cores: int = 0, *, whole: bool = False, role: Role = Role.MAIN, name: str = "c"
) -> Grant:
    share = Share(GPU, MiB(memory), Percent(cores), whole)
    return Grant("n", pod, pod, name, ("s",), (share,), {GPU: 0}, True, "unigpu", role)


@pytest.mark.parametrize(
    ("held", "new", "says"),
    [
        ([], grant("p", 600), None),
        ([], grant("p", 601), "400 MiB are in use and granted to nobody"),
        ([grant("q", 500)], grant("p", 101), "601 MiB would be granted"),
        ([grant("p", 900)], grant("p", 900), None),  # it only restarts
        ([grant("p", 900)], grant("p", 800), None),
        ([grant("p", 500)], grant("p", 601), "granted to nobody"),
        ([], grant("p", 1000, 100, whole=True), "granted to nobody"),
        ([], grant("p", 0), None),
    ],
)
def test_memory_that_nobody_was_granted_counts(held: list[Grant], new: Grant, says: str | None) -> None:
    gpus = {GPU: dataclasses.replace(GPUS[GPU], foreign=MiB(400))}
    found = grant_totals.excess(gpus, held, new)
    assert (found is None) if says is None else (found is not None and says in found)


@pytest.mark.parametrize(
    ("held", "new", "says"),
    [
        ([], grant("p", 1000), None),
        ([], grant("p", 1001), "1001 MiB"),
        ([grant("q", 600)], grant("p", 400), None),
        ([grant("q", 600)], grant("p", 401), "1001 MiB"),
        ([grant("p", 1000)], grant("p", 900), None),
        ([grant("p", 1000, role=Role.INIT, name="i")], grant("p", 1000), None),
        ([grant("p", 600, role=Role.SIDECAR, name="s")], grant("p", 600), "1200 MiB"),
        ([grant("p", 1000, role=Role.INIT, name="i"), grant("q", 0)], grant("p", 500), None),
        ([grant("q", 10, 60)], grant("p", 10, 40), None),
        ([grant("q", 10, 60)], grant("p", 10, 41), "101 %"),
        ([grant("q", 10)], grant("p", 1000, 100, whole=True), "can't be shared"),
        ([grant("q", 1000, 100, whole=True)], grant("p", 0), "another has the whole GPU"),
        ([grant("p", 1000, 100, whole=True, role=Role.INIT, name="i")], grant("p", 1000, 100, whole=True), None),
    ],
)
def test_excess(held: list[Grant], new: Grant, says: str | None) -> None:
    found = grant_totals.excess(GPUS, held, new)
    assert (found is None) if says is None else (found is not None and says in found)
