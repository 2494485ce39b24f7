"""What one finished sample says of the cost of a launch, and what is known of a launch's shape: tables."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import ROOT

US = 1000
CLEAR, UNCERTAIN, CONTENDED, STREAMS = 0, 1, 2, 4


@pytest.fixture(scope="module")
def ask(compiled: Callable[..., Path]) -> Callable[..., list[list[int]]]:
    program = compiled("reading", str(ROOT / "libvgpu/compute/reading.c"))

    def answers(*questions: str) -> list[list[int]]:
        done = subprocess.run([program], input="\n".join(questions) + "\n", capture_output=True, text=True, check=True)
        return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]

    return answers


def sample(
    whole: int,
    host: int,
    gap: int = 0,
    asked: int = 0,
    spent: int = 0,
    launches: int = 1,
    view: int = UNCERTAIN,
    flags: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> str:
    """A question; `flags`: backlogged, behind, several, together."""
    return f"read {whole} {host} {gap} {asked} {spent} {launches} {view} {' '.join(map(str, flags))}"


ALONE = (0, 0, 0, 0)
QUEUED = (1, 0, 0, 0)
TOGETHER = (0, 0, 1, 1)
BEHIND = (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("question", "answer"),
    [  # usable, waited, elapsed, of one launch, exact, view, subtracted
        pytest.param(sample(500 * US, 9 * US, flags=QUEUED), [1, 0, 500 * US, 500 * US, 1, UNCERTAIN, 0], id="queued"),
        pytest.param(
            sample(20 * US, 25 * US, flags=QUEUED), [1, 1, 20 * US, 20 * US, 0, UNCERTAIN, 0], id="the queue ran dry"
        ),
        pytest.param(
            sample(12 * US, 6 * US, gap=4 * US), [1, 0, 10 * US, 10 * US, 0, UNCERTAIN, 2 * US], id="an idle GPU"
        ),
        pytest.param(
            sample(50 * US, 40 * US, gap=30 * US), [1, 0, 50 * US, 50 * US, 0, UNCERTAIN, 0], id="an interrupted host"
        ),
        pytest.param(
            sample(160 * US, 60 * US, launches=16), [1, 0, 160 * US, 10 * US, 1, UNCERTAIN, 0], id="a run that queues"
        ),
        pytest.param(sample(50 * US, 60 * US, launches=16), [0, 0, 0, 0, 0, 0, 0], id="a run that waits says nothing"),
        pytest.param(sample(0, 5 * US), [1, 1, 1, 1, 0, UNCERTAIN, 0], id="never nothing"),
        pytest.param(
            sample(90 * US, 9 * US, view=CLEAR, flags=(0, 0, 1, 0)),
            [1, 0, 90 * US, 90 * US, 1, STREAMS, 0],
            id="other streams may have stretched it",
        ),
        pytest.param(
            sample(640 * US, 250 * US, spent=30 * US, launches=64, flags=TOGETHER),
            [1, 0, 640 * US, 10 * US, 1, UNCERTAIN, 0],
            id="queued on several streams: each counts once",
        ),
        pytest.param(
            sample(224 * US, 230 * US, spent=32 * US, launches=64, flags=TOGETHER),
            [1, 1, 192 * US, 3 * US, 0, UNCERTAIN, 0],
            id="side by side, as fast as the host launches: what measuring took isn't the program's",
        ),
        pytest.param(
            sample(20 * US, 90 * US, spent=40 * US, launches=4, flags=TOGETHER),
            [0, 0, 0, 0, 0, 0, 0],
            id="most of it was measuring",
        ),
        pytest.param(
            sample(300 * US, 900 * US, spent=40 * US, launches=30, flags=BEHIND),
            [1, 1, 300 * US, 10 * US, 0, UNCERTAIN, 0],
            id="behind a launch, the host's time isn't the GPU's",
        ),
        pytest.param(
            sample(300 * US, 90 * US, launches=30, flags=BEHIND),
            [1, 0, 300 * US, 10 * US, 1, UNCERTAIN, 0],
            id="behind a launch",
        ),
    ],
)
def test_one_sample(ask: Callable[..., list[list[int]]], question: str, answer: list[int]) -> None:
    assert ask(question) == [answer]


def test_where_the_gpu_lags_behind_the_host_its_gap_is_learned(ask: Callable[..., list[list[int]]]) -> None:
    """A kernel of 2 µs: the host asked for 4 µs, the call took 3.6 µs, and the GPU lags equally at both ends."""
    found = ask(*[sample(9600, 9000, gap=7600, asked=4000)] * 8)
    assert [answer[3] for answer in found[4:]] == [2300] * 4, "but for a small part of the call"
    found = ask(
        *[sample(9600, 9000, gap=7600, asked=4000)] * 8,
        sample(13_600, 13_000, gap=11_600, asked=8000),
        sample(9600, 9000, gap=7600, asked=4000),
    )
    assert found[8][3] > 6000, "of a longer gap no more than usual"
    assert found[9][3] == pytest.approx(2300, abs=50)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        pytest.param("shape 1024 1 1 256 1 1 0 0", [1024, 256, 0, 0], id="a row"),
        pytest.param("shape 7 5 3 8 4 2 49152 0", [105, 64, 49152, 0], id="all dimensions"),
        pytest.param("shape 2147483647 65535 65535 1024 1 1 0 0", [2147483647 * 65535 * 65535, 1024, 0, 0], id="most"),
        pytest.param("shape 1 1 1 1 1 64 0 0", [1, 64, 0, 0], id="the deepest block"),
        pytest.param("shape 0 0 0 0 0 0 0 1", [0, 0, 0, 1], id="a graph"),
    ],
)
def test_shape(ask: Callable[..., list[list[int]]], question: str, answer: list[int]) -> None:
    assert ask(question) == [answer]
