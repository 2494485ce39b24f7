"""`kubectl unigpu top`: the exporters' pages, rates, order, table."""

import json

import pytest

from cli.text import Style
from cli.top import command, render, samples
from cli.top.samples import Page
from unigpu import names


def text(pod: str = "p", *, used: int = 512, limit: int = 1024, seconds: float = 0.0, waited: float = 0.0) -> str:
    """A page with one container."""
    labels = f'{{namespace="team",pod="{pod}",container="main",node="n1",gpu="0",uuid="GPU-a",model="T4"}}'
    values = {
        names.METRIC_MEMORY_USED: used << 20,
        names.METRIC_MEMORY_LIMIT: limit << 20,
        names.METRIC_CORES_LIMIT: 0.3,
        names.METRIC_CORES_CURRENT: 0.5,
        names.METRIC_COMPUTE_SECONDS: seconds,
        names.METRIC_THROTTLED_SECONDS: waited,
        names.METRIC_ALLOCATION_FAILURES: 2,
    }
    lines = [f"{name}{labels} {value}" for name, value in values.items()]
    return "\n".join([*lines, 'unigpu_gpu_healthy{node="n1",gpu="0",uuid="GPU-a",model="T4"} 1', ""])


def test_rates_are_between_two_pages() -> None:
    before, now = samples.page(text(seconds=10, waited=1), 100.0), samples.page(text(seconds=10.8, waited=2), 102.0)
    (one,) = samples.uses(before, now)
    assert (one.key, one.node, one.gpu) == (("team", "p", "main", "GPU-a"), "n1", "0")
    assert (one.used, one.limit, one.share, one.failures) == (512, 1024, 0.5, 2)
    assert one.compute == pytest.approx(0.4) and one.waiting == pytest.approx(0.5)


def test_no_rate_without_an_earlier_page_and_none_below_zero() -> None:
    (one,) = samples.uses(None, samples.page(text(), 1.0))
    assert one.compute is None and one.waiting is None
    (one,) = samples.uses(samples.page(text(seconds=5), 1.0), samples.page(text(seconds=1), 2.0))
    assert one.compute == 0.0
    (one,) = samples.uses(samples.page(text("other"), 1.0), samples.page(text(), 2.0))
    assert one.compute is None


def test_what_is_no_page() -> None:
    with pytest.raises(ValueError):
        samples.page("<html>", 1.0)


def pages() -> tuple[dict[str, Page], dict[str, Page]]:
    first = {"n1": samples.page(text("a", used=10), 0.0), "n2": samples.page(text("b", used=1000), 0.0)}
    return first, {
        "n1": samples.page(text("a", used=10, seconds=1), 2.0),
        "n2": samples.page(text("b", used=1000), 2.0),
    }


@pytest.mark.parametrize(("by", "order"), [("memory", ["b", "a"]), ("compute", ["a", "b"])])
def test_order(by: str, order: list[str]) -> None:
    before, now = pages()
    assert [one.key[1] for one in command.chosen(before, now, "", by)] == order
    assert command.chosen(before, now, "other", by) == []


def test_the_table_fits_80_columns() -> None:
    before, now = pages()
    now["n2"] = samples.page(text("a-pod-with-quite-a-long-name-7c9d6f5b4-x8k2p", used=1000), 2.0)
    lines = list(render.lines(command.chosen(before, now, "", "compute"), ["n3 doesn't answer"], Style(80)))
    assert lines[0] == "Note: n3 doesn't answer"
    assert lines[1].split() == ["POD", "CONTAINER", "NODE", "GPU", "MEMORY", "(MiB)", "COMPUTE", "SHARE", "WAIT"]
    assert lines[2].split() == ["team/a", "main", "n1", "0", "10/1024", "50", "%", "50", "%", "0.0s"]
    assert max(map(len, lines)) <= 80 and lines[3].split()[4:] == ["1000/1024", "-", "50", "%", "-"]
    assert list(render.lines([], [], Style(80))) == ["No container with a GPU runs."]
    coloured = list(render.lines(command.chosen(before, now, "", "compute"), [], Style(80, colour=True)))
    assert coloured[2].startswith("\033[33m") and not coloured[1].startswith("\033[33m")


def test_the_document() -> None:
    before, now = pages()
    made = command.document(command.chosen(before, now, "", "compute"), [])
    assert json.loads(json.dumps(made))["containers"][0] == {
        "namespace": "team",
        "pod": "a",
        "container": "main",
        "node": "n1",
        "gpu": "0",
        "uuid": "GPU-a",
        "memoryUsed": 10,
        "memoryLimit": 1024,
        "computeRatio": 0.5,
        "shareRatio": 0.5,
        "waitingRatio": 0.0,
        "allocationFailures": 2,
    }
