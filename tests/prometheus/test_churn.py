"""The real Prometheus over churn: containers and programs come and go, exporter, programs and Prometheus are killed.

`UNIGPU_SECONDS` is how long (20 in `make test`, 600 in `make check-prometheus`). Afterwards every scrape is compared
with what the simulated GPUs said at that moment.
"""

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from tests.prometheus.node import Node, playing
from tests.prometheus.server import Json, Prometheus, running
from unigpu import names

SECONDS = int(os.environ.get("UNIGPU_SECONDS", "20"))
EVERY = 1.0
MOST = 6
CALL = 2.0
"""Seconds that a call of the driver takes at most on a busy machine, its part of libvgpu included."""
COUNTERS = (
    names.METRIC_COMPUTE_SECONDS,
    names.METRIC_THROTTLED_SECONDS,
    names.METRIC_THROTTLED_LAUNCHES,
    names.METRIC_ALLOCATION_FAILURES,
    names.METRIC_LAUNCHES,
)
Labels = frozenset[tuple[str, str]]


@dataclass(slots=True)
class Scrape:
    """One page as Prometheus has it."""

    start: float
    end: float
    samples: dict[str, dict[Labels, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """What happened, and what Prometheus has of it."""

    node: Node
    prometheus: Prometheus
    scrapes: list[Scrape]
    kills: Mapping[str, int]
    outages: list[float]
    """When Prometheus was killed."""


def churn(node: Node, prometheus: Prometheus, kills: dict[str, int], outages: list[float]) -> None:
    """Let containers come and go until the time is over."""
    dice = random.Random(7)
    numbers = itertools.count()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        choice = dice.random()
        living = node.living
        if (choice < 0.4 and len(living) < MOST) or not living:
            number = next(numbers)
            made = node.create(f"pod-{number}", number % 2, 1024 + 256 * (number % 3), 25 * (number % 2))
            if number % 2:
                node.load(made)
            else:
                node.hold(made, 64 * dice.randint(1, 8))
        elif choice < 0.6:
            node.remove(dice.choice(living))
        elif choice < 0.8:
            one = dice.choice(living)
            node.end(one, dice.choice([signal.SIGKILL, signal.SIGTERM]))
            node.hold(one, 64 * dice.randint(1, 8))
            kills["program"] += 1
        elif choice < 0.95:
            node.kill_exporter()
            node.start_exporter()
            kills["exporter"] += 1
        elif kills["prometheus"] * 20 < SECONDS:
            outages.append(time.time())
            prometheus.kill()
            prometheus.start()
            kills["prometheus"] += 1
        time.sleep(dice.uniform(0.1, 1.2))  # what happens next may fall anywhere between two scrapes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The churn, once for all tests."""
    folder = tmp_path_factory.mktemp("churn")
    kills = {"program": 0, "exporter": 0, "prometheus": 0}
    with playing(folder / "node") as node:
        target = {
            "job_name": "exporter",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{node.port}"]}],
        }
        configuration = {"global": {"scrape_interval": f"{EVERY:g}s"}, "scrape_configs": [target]}
        with running(folder / "prometheus", configuration) as prometheus:
            began = time.time()
            outages: list[float] = []
            churn(node, prometheus, kills, outages)
            _settle(node, prometheus)
            yield Run(node, prometheus, scrapes(prometheus, int(time.time() - began) + 5), kills, outages)


def _settle(node: Node, prometheus: Prometheus) -> None:
    """Wait until a page was scraped on which nothing has an influence any more."""
    ended = time.time()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        last = prometheus.instant("timestamp(up == 1)")
        changed = max(ended, node.truths[-1].before)
        if last and float(last[0]["value"][1]) > changed + CALL:
            return
        time.sleep(0.2)
    raise AssertionError("the exporter is no longer scraped")


def scrapes(prometheus: Prometheus, seconds: int) -> list[Scrape]:
    """Return every page that was scraped, from the raw samples."""

    def raw(selector: str) -> list[Json]:
        return prometheus.raw(selector, seconds)

    took = {at: float(value) for series in raw("scrape_duration_seconds") for at, value in series["values"]}
    good = {at for series in raw("up") for at, value in series["values"] if value == "1"}
    found = {at: Scrape(at, at + took[at]) for at in sorted(good)}
    for series in raw('{__name__=~"unigpu_.*"}'):
        labels = dict(series["metric"])
        name = labels.pop("__name__")
        for at, value in series["values"]:
            if at in found:
                found[at].samples.setdefault(name, {})[frozenset(labels.items())] = float(value)
    return list(found.values())


def label(labels: Labels, name: str) -> str:
    return dict(labels)[name]


def test_enough_happened(run: Run) -> None:
    print(f"{SECONDS} s: {len(run.scrapes)} scrapes, {len(run.node.containers)} containers, kills {dict(run.kills)}")
    assert len(run.scrapes) > SECONDS / EVERY / 4
    assert len(run.node.containers) >= 4 and run.kills["program"] and run.kills["exporter"]


def test_series_appear_and_end_with_their_containers(run: Run) -> None:
    for scrape in run.scrapes:
        shown = {label(labels, "pod") for labels in scrape.samples.get(names.METRIC_CONTAINER_INFO, {})}
        containers = run.node.containers
        there = {one.pod for one in containers if one.created[1] < scrape.start and one.removed[0] > scrape.end}
        maybe = {one.pod for one in containers if one.created[0] <= scrape.end and one.removed[1] >= scrape.start}
        assert there <= shown <= maybe, (scrape.start, there, shown, maybe)


def test_what_has_ended_is_no_longer_there(run: Run) -> None:
    """A query after the churn finds the living alone.

    Prometheus marks a series as ended at the scrape that misses it. One that was killed before that scrape doesn't know
    what it had, so such a series stays in answers for 5 minutes; `make check-prometheus` has a few.
    """
    shown = {one["metric"]["pod"] for one in run.prometheus.instant(names.METRIC_CONTAINER_INFO)}
    living = {one.pod for one in run.node.living}
    assert living <= shown
    assert shown - living <= set(_unmarked(run))


def _unmarked(run: Run) -> Iterator[str]:
    """Pods between whose last scrape and the next one Prometheus was killed."""
    for container in run.node.containers:
        seen = [
            number
            for number, scrape in enumerate(run.scrapes)
            if container.pod in {label(one, "pod") for one in scrape.samples.get(names.METRIC_CONTAINER_INFO, {})}
        ]
        if seen and seen[-1] + 1 < len(run.scrapes):
            last, following = run.scrapes[seen[-1]], run.scrapes[seen[-1] + 1]
            if any(last.start - 1 <= at <= following.end for at in run.outages):
                yield container.pod


def test_memory_is_what_the_gpus_say(run: Run) -> None:
    """Between two changes there is one truth, met to the byte; a page made during a change is between both.

    libvgpu counts memory before the driver has it, a context once the driver has made it, and a killed process until it
    is gone for good. A page that falls into such a call shows what the GPU says soon after it, or said shortly before.
    How many do is a matter of the machine's load; the last one can't, because nothing changes any more.
    """
    exact = calls = 0
    for scrape in run.scrapes:
        for uuid in run.node.uuids:
            total = _shown(scrape, uuid)
            during = _said(run, uuid, scrape.start, scrape.end)
            if during and min(during) <= total <= max(during):
                exact += min(during) == max(during)
                continue
            around = _said(run, uuid, scrape.start - CALL, scrape.end + CALL)
            assert min(around) <= total <= max(around), (scrape.start, uuid, total, around)
            calls += 1
    sums = len(run.scrapes) * len(run.node.uuids)
    print(
        f"{exact} of {sums} sums are the GPU's to the byte, {sums - exact - calls} during a change, {calls} in a call"
    )
    assert exact > len(run.scrapes)
    last = run.scrapes[-1]
    for uuid in run.node.uuids:
        assert [_shown(last, uuid)] == _said(run, uuid, last.start, last.end)


def test_kinds_of_memory_add_up_at_every_scrape(run: Run) -> None:
    seen: dict[str, float] = {}
    for scrape in run.scrapes:
        used = scrape.samples.get(names.METRIC_MEMORY_USED, {})
        sums = dict.fromkeys(used, 0.0)
        for labels, value in scrape.samples.get(names.METRIC_MEMORY_KIND, {}).items():
            assert value >= 0
            kind = label(labels, "kind")
            seen[kind] = max(seen.get(kind, 0), value)
            sums[labels - {("kind", kind)}] += value
        assert sums == used, scrape.start
    assert seen["data"] >= 64 << 20 and seen["context"] > 0 and seen.keys() == {"data", "context", "code", "driver"}


def _shown(scrape: Scrape, uuid: str) -> float:
    """Bytes of a GPU in use, by the page."""
    used = scrape.samples.get(names.METRIC_MEMORY_USED, {})
    return sum(value for labels, value in used.items() if label(labels, "uuid") == uuid)


def _said(run: Run, uuid: str, start: float, end: float) -> list[int]:
    """Bytes in use by the GPU itself, in every state that it had in that time."""
    return [one.used[uuid] for one in run.node.truths if one.before <= end and one.after >= start]


@pytest.mark.parametrize("name", COUNTERS)
def test_no_counter_goes_back(run: Run, name: str) -> None:
    last: dict[Labels, float] = {}
    for scrape in run.scrapes:
        for labels, value in scrape.samples.get(name, {}).items():
            assert value >= last.get(labels, 0.0), (name, dict(labels), last[labels], value)
            last[labels] = value
    assert last
    if name in (names.METRIC_COMPUTE_SECONDS, names.METRIC_LAUNCHES):
        assert max(last.values()) > 0


def test_gpu_time_is_what_the_gpus_say(run: Run) -> None:
    """What every container was charged, the ended ones by their last scrape, is what the GPUs were busy."""
    charged: dict[Labels, float] = {}
    for scrape in run.scrapes:
        charged |= scrape.samples.get(names.METRIC_COMPUTE_SECONDS, {})
    for uuid in run.node.uuids:
        busy = run.node.truths[-1].busy[uuid]
        total = sum(value for labels, value in charged.items() if label(labels, "uuid") == uuid)
        print(f"GPU {uuid}: busy {busy:.2f} s, charged {total:.2f} s by the last scrapes")
        # A container is busy for up to two scrapes after the last one that saw it; one that was killed owes a batch.
        unseen = 2.5 * EVERY * len([one for one in run.node.containers if one.gpu == uuid])
        assert total <= busy * 1.05 + 0.5 and total >= busy - unseen
