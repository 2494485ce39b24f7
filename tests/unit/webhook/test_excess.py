"""Pods with more names than any person writes: what admission looks at is bounded, and it says so."""

import difflib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.webhook.conftest import make_pod
from webhook.translation import dialects, excess, near_misses, pod_reading, pods, translate
from webhook.translation.dialect import Dialect
from webhook.translation.options import Options

MANY = 5_000
NUMBERS = itertools.count()
"""So that no name is remembered from another pod."""
MEM = "aliyun.com/gpu-mem"
Json = dict[str, Any]


def named(form: str, value: str = "1") -> dict[str, str]:
    return {form.format(next(NUMBERS)): value for _ in range(MANY)}


def containers(annotation: str = "", **fields: Json) -> Json:
    each = [{"name": f"c{number}", "image": "x", **fields} for number in range(MANY)]
    return make_pod(containers=each, annotations=named(annotation, "1Gi") if annotation else {})


HOSTILE = {
    "limits": make_pod(named("aliyun.com/gpu-mem{}")),
    "limits and a right one": make_pod({MEM: "1", **named("aliyun.com/gpu-mem{}")}),
    "annotations": make_pod({MEM: "1"}, annotations=named("hami.io/gpu-scheduler-policy{}")),
    "annotations of a family": make_pod({MEM: "1"}, annotations=named("nvidia.com/container.main.gpu-memor{}")),
    "labels": make_pod({MEM: "1"}, labels=named("ack.gpushare.placemen{}")),
    "variables": make_pod({MEM: "1"}, env=named("CGPU_DISABL{}")),
    "containers": containers(resources={"limits": {"aliyun.com/gpu-mm": "1"}}),
    "containers with annotations": containers("nvidia.com/container.c{}.gpu-memor.limit"),
}


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many names were compared with how many known ones, so far."""
    seen: list[int] = []
    close, nearest = difflib.get_close_matches, near_misses.nearest

    def counted_close(word: str, known: Any, *more: Any) -> list[str]:
        every = list(known)
        seen.append(len(every))
        return close(word, every, *more)

    def counted_nearest(name: str, known: Any) -> str:
        every = list(known)
        seen.append(len(every))
        return nearest(name, every)

    monkeypatch.setattr(difflib, "get_close_matches", counted_close)
    monkeypatch.setattr(near_misses, "nearest", counted_nearest)
    yield seen


@pytest.mark.parametrize("pod", HOSTILE.values(), ids=HOSTILE)
def test_names_without_end_cost_a_bounded_number_of_comparisons(pod: Json, comparisons: list[int]) -> None:
    found = translate.translate(pod_reading.read(pods.read(pod), Options()))
    assert 0 < sum(comparisons) < 60_000
    over = [line for line in found.warnings if "not looked at for mistakes" in line]
    assert len(over) == 1, "and it says that it didn't look at all"
    assert not found.problems


def test_a_pod_as_people_write_it_is_looked_at_as_a_whole() -> None:
    pod = pods.read(make_pod({MEM: "1"}, annotations={"a": "1"}, env={f"V{n}": "1" for n in range(500)}))
    assert excess.cut(pod) == (pod, ())


def test_the_first_names_are_looked_at() -> None:
    written = named("a{}")
    pod = pods.read(make_pod({MEM: "1"}, annotations=written, labels=named("b{}")))
    short, (said,) = excess.cut(pod)
    assert list(short.annotations) == list(written)[: excess.MOST_NAMES]
    assert not short.labels
    assert f"= {2 * MANY + 1 - excess.MOST_NAMES}: not looked at for mistakes" in said


@pytest.mark.parametrize("asking", [0, MANY - 1], ids=["the first", "the last"])
def test_a_pod_with_gpus_has_no_more_containers_than_can_be_read(asking: int) -> None:
    document = containers()
    document["spec"]["containers"][asking]["resources"] = {"limits": {MEM: "1"}}
    (problem,) = translate.translate(pod_reading.read(pods.read(document), Options())).problems
    assert str(problem) == f"pod: containers of all kinds = {MANY}: too many; accepted: up to 256 in a pod with GPUs"


def test_work_does_not_grow_with_containers_times_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each container of such a pod was compared with each annotation."""
    asked = []

    def counted(dialect: Dialect, *of: object) -> bool:
        asked.append(dialect)
        return False

    monkeypatch.setattr(Dialect, "matches", counted)
    pod_reading.read(pods.read(containers("nvidia.com/container.c{}.gpu-memory.limit")), Options())
    assert 0 < len(asked) <= excess.MOST_CONTAINERS * len(dialects.ALL)
