"""`kubectl unigpu cost` from the real Prometheus: samples whose sums are known, and one sentence where it can't."""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from cli import __main__ as cli
from cli.cost import queries
from cli.prometheus import Series
from tests.integration.cli import fake_api
from tests.integration.cli.fake_api import FakeApi
from tests.prometheus.server import Prometheus, backfill, running
from unigpu import names

GIB = 1 << 30
EVERY = 15
HOURS = 6
"""How long pod `a` lives, and twice as long as pod `b` does."""


def samples(end: int) -> Iterator[str]:
    """Pod `a` has a quarter of the memory and half of the compute of a GPU, and uses 0.4 of it; `b` has all memory of
    two GPUs for half of the time, uses nothing of one, and starts again once: its counters begin again."""
    start = end - HOURS * 3600
    gauges: dict[str, list[str]] = {}

    def sample(name: str, labels: str, value: float, at: int) -> None:
        gauges.setdefault(name, []).append(f"{name}{{{labels}}} {value} {at}")

    for at in range(start, end + 1, EVERY):
        for gpu in "xyz":
            sample(names.METRIC_GPU_MEMORY_TOTAL, f'node="n",gpu="{gpu}",uuid="{gpu}"', 40 * GIB, at)
        a = 'namespace="team",pod="a",container="main",node="n",gpu="x",uuid="x"'
        sample(names.METRIC_MEMORY_LIMIT, a, 10 * GIB, at)
        sample(names.METRIC_CORES_LIMIT, a, 0.5, at)
        sample(names.METRIC_COMPUTE_SECONDS, a, 0.4 * (at - start), at)
        sample(names.METRIC_CONTAINER_INFO, f'{a},dialect="hami"', 1, at)
        if at - start > HOURS * 1800:
            continue
        for gpu, rate in (("y", 0.9), ("z", 0.0)):
            b = f'namespace="other",pod="b",container="main",node="n",gpu="{gpu}",uuid="{gpu}"'
            sample(names.METRIC_MEMORY_LIMIT, b, 40 * GIB, at)
            sample(names.METRIC_CORES_LIMIT, b, 0, at)
            sample(names.METRIC_COMPUTE_SECONDS, b, rate * ((at - start) % (HOURS * 900)), at)
            sample(names.METRIC_CONTAINER_INFO, f'{b},dialect="alibaba"', 1, at)
    for name, lines in gauges.items():
        yield f"# TYPE {name.removesuffix('_total')} {'counter' if name.endswith('_total') else 'gauge'}"
        yield from lines


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With the samples, the last of them now."""
    folder = tmp_path_factory.mktemp("prometheus")
    data = backfill(folder, list(samples(int(time.time()) // EVERY * EVERY)))
    with running(folder, {"global": {"scrape_interval": f"{EVERY}s"}}, data) as made:
        yield made


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["cost", *arguments])
    found = capsys.readouterr()
    return status, found.out, found.err


def test_sums_are_those_of_the_samples(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ask(
        capsys, f"--prometheus={prometheus.address}", "--since=8h", "--price=2.5/h", "-o", "json", "--by=pod"
    )
    found = {one["pod"]: one for one in json.loads(out)["lines"]}
    seconds = HOURS * 3600
    near = 2 * 60  # one step, and one scrape at each end
    assert found["a"]["gpuSecondsUsed"] == pytest.approx(0.4 * seconds, abs=2 * EVERY)
    assert found["a"]["gpuSecondsReserved"] == pytest.approx(0.5 * seconds, abs=near)
    assert found["a"]["gibSecondsReserved"] == pytest.approx(10 * seconds, abs=10 * near)
    assert found["a"]["cost"] == pytest.approx(0.5 * HOURS * 2.5, rel=0.02)
    assert found["b"]["gpuSecondsUsed"] == pytest.approx(0.9 * seconds / 2, abs=3 * EVERY)
    assert found["b"]["gpuSecondsReserved"] == pytest.approx(2 * seconds / 2, abs=8 * near)
    assert (found["a"]["dialect"], found["b"]["dialect"]) == ("hami", "alibaba")


def test_slices_add_up_to_the_whole(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    end = int(time.time())
    parts = list(queries.slices(end - 8 * 3600, end, 3600))
    assert sum(part.seconds for part in parts) == 8 * 3600 and len(parts) == 8
    whole = ask(capsys, f"--prometheus={prometheus.address}", "--since=8h", "-o", "json")[1]
    pods: queries.Pods = {}
    for part in parts:
        answers = {}
        for name, expression in queries.expressions(part, "").items():
            series = prometheus.instant(expression, part.end)
            answers[name] = [Series(one["metric"], [(0, float(one["value"][1]))]) for one in series]
        queries.add(pods, answers)
    sums = {one["namespace"]: one["gpuSecondsUsed"] for one in json.loads(whole)["lines"]}
    assert {space: line.used for (space, _), line in pods.items()} == pytest.approx(sums, rel=0.01)


def test_forms(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"--prometheus={prometheus.address}"
    _, out, _ = ask(capsys, where, "--since=8h", "--price=60/d", "-o", "csv", "-n", "team")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["namespace"] for row in rows] == ["team"]
    assert float(rows[0]["cost"]) == pytest.approx(7.5, rel=0.02)
    _, out, _ = ask(capsys, where, "--since=8h", "--price=2.5/h", "--by=dialect", "--basis=used")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["DIALECT", "alibaba", "hami", "total"]
    assert max(map(len, lines)) <= 80
    _, out, _ = ask(capsys, where, "--since=8h")
    assert "COST" not in out


def test_a_time_without_containers_is_said(prometheus: Prometheus, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ask(capsys, f"--prometheus={prometheus.address}", "-n", "nobody", "--since=8h")
    assert (status, "has no containers with GPUs" in err) == (0, True)
    assert out.splitlines()[-1].split()[0] == "total"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--prometheus=http://127.0.0.1:1"], 2, "Prometheus doesn't answer at http://127.0.0.1:1"),
        (["--prometheus=monitoring"], 1, "accepted: NAMESPACE/NAME:PORT"),
        (["--prometheus=ftp://x"], 1, "accepted: http://HOST:PORT"),
    ],
)
def test_one_sentence_for_what_cant_be_asked(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, err = ask(capsys, *arguments)
    assert found == status and said in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("wrong", [["--since=3"], ["--since=0d"], ["--price=2.5"], ["--price=x/h"], []])
def test_arguments(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["cost", *(["--prometheus=http://x"] if wrong else []), *wrong])
    assert ended.value.code == 2
    assert "accepted" in capsys.readouterr().err or not wrong


def test_through_the_api_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Prometheus that can't load so much is asked for less at once, and one without the right is named."""
    fake = FakeApi()
    proxy = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query"

    def answer(request: web.Request) -> fake_api.Answer:
        if "[21600s" in request.query["query"]:
            return 422, {"status": "error", "error": "query processing would load too many samples into memory"}
        metric = {"namespace": "team", "pod": "a", "dialect": "hami"}
        return 200, {"status": "success", "data": {"result": [{"metric": metric, "value": [0, "100"]}]}}

    fake.answers[proxy] = answer
    with fake.running(tmp_path) as kubeconfig:
        options = ["--prometheus=monitoring/prometheus:9090", "--since=6h", f"--kubeconfig={kubeconfig}"]
        _, out, _ = ask(capsys, *options, "-o", "json")
        assert json.loads(out)["total"]["gpuSecondsUsed"] == 200, "two halves"
        fake.answers[proxy] = (403, {"message": "services is forbidden"})
        status, _, err = ask(capsys, *options)
        assert status == 1 and "you don't have the right to do this: services is forbidden" in err
        fake.answers[proxy] = (200, "<html>")
        status, _, err = ask(capsys, *options)
        assert status == 2 and len(err.splitlines()) == 1
