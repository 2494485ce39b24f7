"""Records as people and machines read them: the same fields in both forms."""

import json
import logging
from collections.abc import Iterator

import pytest

from unigpu import logs

LOGGER = logging.getLogger("unigpu.test")


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Put pytest's own handlers and level back afterwards."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_plain_line_has_time_level_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(as_json=False)
    logs.event(LOGGER, "allocated", pod="team/train", slots=2)
    time, level, rest = capsys.readouterr().err.split(maxsplit=2)
    assert len(time) == len("12:34:56.789")
    assert level == "info"
    assert rest == "allocated pod=team/train slots=2\n"


def test_a_json_line_has_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(as_json=True)
    logs.event(LOGGER, "allocated", logging.WARNING, pod="team/train", slots=2)
    document = json.loads(capsys.readouterr().err)
    assert document.pop("time").endswith("+00:00")
    assert document == {
        "level": "warning",
        "logger": "unigpu.test",
        "message": "allocated",
        "pod": "team/train",
        "slots": 2,
    }


@pytest.mark.parametrize(("as_json", "time"), [(False, "00:00:01.500"), (True, '"1970-01-01T00:00:01.500+00:00"')])
def test_a_line_that_is_written_late_has_the_time_of_what_happened(
    capsys: pytest.CaptureFixture[str], as_json: bool, time: str
) -> None:
    logs.configure(as_json=as_json)
    logs.event(LOGGER, "reviewed", at=1.5, pod="team/train")
    assert time in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exception_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    logs.configure(as_json=as_json)
    try:
        raise ValueError("torn file")
    except ValueError:
        LOGGER.exception("can't read")
    line = capsys.readouterr().err
    text = json.loads(line)["error"] if as_json else line
    assert "Traceback" in text
    assert "ValueError: torn file" in text


def test_a_field_that_json_does_not_know_is_written_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(as_json=True)
    logs.event(LOGGER, "served", error=OSError("refused"))
    assert json.loads(capsys.readouterr().err)["error"] == "refused"


def test_records_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(as_json=False, level="warning")
    logs.event(LOGGER, "quiet")
    logs.event(LOGGER, "loud", logging.ERROR)
    assert "quiet" not in (text := capsys.readouterr().err)
    assert "loud" in text
