"""Output that is refreshed."""

import pytest

from cli import screen
from unigpu import errors


async def test_a_cluster_that_stops_answering_is_reported_and_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[list[str] | Exception] = [["one"], errors.Unavailable("no cluster to ask: gone"), ["two"]]
    pauses: list[float] = []

    async def draw() -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    times = iter([0.0, 0.1, 10.0, 11.0, 20.0, 20.0])
    await screen.refresh(draw, 2.0, times=3, sleep=sleep, clock=lambda: next(times))
    said = capsys.readouterr()
    assert said.out == "one\n\ntwo\n"
    assert said.err == "error: no cluster to ask: gone\n"
    assert pauses == [2.0, 5.0], "a slow answer is followed by a longer pause"


async def test_the_first_failure_ends_it() -> None:
    async def draw() -> list[str]:
        raise errors.Unavailable("no")

    with pytest.raises(errors.Unavailable):
        await screen.refresh(draw, 2.0)


async def test_a_terminal_is_drawn_in_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    async def draw() -> list[str]:
        return ["x"]

    await screen.refresh(draw, 2.0, times=1)
    assert capsys.readouterr().out == "\033[H\033[2Jx\n"
