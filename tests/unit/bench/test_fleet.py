"""What the benchmark of a fleet makes of its samples."""

import dataclasses
import xml.etree.ElementTree
from pathlib import Path

import pytest

from bench.fleet import picture, probe, report
from bench.fleet.load import Times
from bench.fleet.report import Cost, Extender, Round, Run, Size
from unigpu import names

PAGE = "\n".join(
    f'{names.METRIC_SCHEDULER_DURATION}_bucket{{le="{bound}",outcome="{outcome}",verb="{verb}"}} {count}'
    for outcome, verb, counts in (
        ("fits", "filter", (10.0, 30.0, 40.0)),
        ("none", "filter", (0.0, 10.0, 60.0)),
        ("bound", "bind", (0.0, 0.0, 5.0)),
    )
    for bound, count in zip(("0.001", "0.002", "+Inf"), counts, strict=True)
)


def test_buckets_of_all_outcomes_of_a_verb() -> None:
    assert probe.buckets(PAGE, "filter") == {0.001: 10.0, 0.002: 40.0, float("inf"): 100.0}


@pytest.mark.parametrize(("part", "milliseconds"), [(0.05, 0.5), (0.10, 1.0), (0.25, 1.5), (0.40, 2.0), (0.99, 2.0)])
def test_quantiles_are_even_within_a_bucket(part: float, milliseconds: float) -> None:
    """Beyond the last bound nothing is known but that bound."""
    assert probe.quantile({}, probe.buckets(PAGE, "filter"), part) == pytest.approx(milliseconds)


def test_quantiles_leave_out_what_was_before() -> None:
    before = {0.001: 10.0, 0.002: 10.0, float("inf"): 10.0}
    after = {0.001: 10.0, 0.002: 30.0, float("inf"): 30.0}
    assert probe.quantile(before, after, 0.5) == pytest.approx(1.5)


def test_rates_of_the_pods_of_one_round() -> None:
    times = Times()
    for number in range(30):
        times.created[f"pod-{number}"] = number / 10
        times.bound[f"pod-{number}"] = 100.0 if number < 10 else 10 + number / 5
    found = times.round(10)
    assert found.created == pytest.approx(20 / 1.9)
    assert found.bound == pytest.approx(20 / (10 + 29 / 5 - 1.0))
    assert found.sustained == pytest.approx(5)


def size(nodes: int) -> Size:
    costs = {"kube-apiserver": Cost(2.0, 400 << 20), "webhook": Cost(0.5, 90 << 20), "extender": Cost(0.5, 90 << 20)}
    stock = Run(1000, [Round(300, 200, 210), Round(150, 100, 105)], 1, 2, costs, 100)
    ours = dataclasses.replace(stock, rounds=[Round(300, 100, 210), Round(150, 80, 105)])
    verbs = {"filter": (0.3, 2.0), "prioritize": (0.3, 2.0), "bind": (4.0, 9.0)}
    extender = Extender(verbs, (1.0, 2.0), (0.5, 3.5), (1.5, 4.0), 2.0, Cost(1.0, 90 << 20))
    return Size(nodes, stock, ours, extender, {"cpus": "2"})


def test_the_ratio_is_of_rounds_beside_each_other() -> None:
    """0.5 in one round and 0.8 in the other, whatever the machine did between them."""
    assert size(100).ratio == pytest.approx(0.65)


def test_missed_goals_are_said() -> None:
    assert list(report.missed(size(100))) == [
        "90 pods a second, 0.65 of the stock scheduler",
        "HTTP p99 3.50 ms, and the goal is 3",
    ]


def test_figures_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "build" / "figures.json"
    report.save([size(100), size(1000)], file)
    assert report.load(file) == [size(100), size(1000)]


def test_the_tables_name_every_part() -> None:
    text = "\n".join(report.lines(size(100)))
    assert all(name in text for name in ("kube-apiserver", "webhook", "extender", "bound, sustained", "of a new shape"))


def test_the_picture_has_a_point_for_each_size() -> None:
    root = xml.etree.ElementTree.fromstring(picture.draw([size(100), size(1000), size(5000)]))
    lines = [one for one in root.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 2 + 4 + 3 + 3
    assert all(len(line.attrib["points"].split()) == 3 for line in lines)
