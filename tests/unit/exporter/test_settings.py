"""Arguments."""

from pathlib import Path

import pytest

from exporter import settings
from unigpu import names


def test_defaults_are_the_nodes() -> None:
    known = settings.parse([])
    assert known.port == names.PORT_EXPORTER
    assert known.containers == Path(names.NODE_CONTAINERS)


def test_the_state_folder_moves_the_containers() -> None:
    assert settings.parse(["--state-dir=/elsewhere"]).containers == Path("/elsewhere/containers")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dcgm-names=some"], "accepted: none, shares, all"),
        (["--log-level=loud"], "accepted: debug, info, warning, error"),
        (["--port=x"], "not a whole number"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings.parse(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
