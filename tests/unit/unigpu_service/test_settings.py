"""A settings dataclass as a command line."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from unigpu_service import settings
from unigpu_service.settings import Logging, option


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Paint:
    colour: Colour = Colour.RED
    """Colour of the paint."""
    gloss: bool = True
    """Dry without a gloss."""
    shades: frozenset[str] = frozenset({"dark"})
    """Shades."""


@dataclass(frozen=True, slots=True)
class Settings(Logging):
    """What the test needs to know."""

    node: str = option("", env="NODE_NAME", required=True)
    """Name of the node."""
    port: int = option(9400, minimum=0, maximum=65535)
    """TCP port of /metrics,
    100 % of them. 0: any free one."""
    seconds: float = option(0.5, above=0)
    """Seconds to wait."""
    host_root: Path = Path("/host")
    """Where the root is."""
    driver_root: PurePosixPath = option(PurePosixPath("/"), absolute=True)
    """Root of the driver."""
    simulator: Path | None = None
    """State."""
    mode: Literal["fast", "slow"] = "fast"
    """How."""
    hosts: tuple[str, ...] = option((), flag="--host")
    """More names."""
    paint: Paint = field(default_factory=Paint)
    """All of the paint."""
    verbose: bool = False
    """Say more."""
    pod_name: str = option("", env="POD_NAME", hidden=True)
    """Own pod."""
    policy: Colour = option(Colour.RED, choices=[Colour.RED])
    """Red only."""

    def problems(self) -> Iterator[str]:
        if self.port == 1:
            yield "--port is 1: taken; accepted: any other"


def parse(*arguments: str, **environment: str) -> Settings:
    return settings.parse(Settings, arguments, prog="test", environment={"NODE_NAME": "n1", **environment})


def test_defaults_and_environment() -> None:
    assert parse(POD_NAME="me") == Settings(node="n1", pod_name="me")


def test_every_kind_of_field() -> None:
    found = parse(
        *("--node=n2", "--port=0", "--seconds=1.5", "--host-root=/", "--driver-root=/run", "--simulator=/sim"),
        *("--mode=slow", "--host=a", "--host=b", "--colour=blue", "--no-gloss", "--shades=light", "--verbose"),
        *("--log-json", "--log-level=debug"),
    )
    assert found == Settings(
        log_json=True,
        log_level="debug",
        node="n2",
        port=0,
        seconds=1.5,
        host_root=Path("/"),
        driver_root=PurePosixPath("/run"),
        simulator=Path("/sim"),
        mode="slow",
        hosts=("a", "b"),
        paint=Paint(Colour.BLUE, False, frozenset({"light"})),
        verbose=True,
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--port=x", "'x' is not a whole number; accepted: 0 to 65535"),
        ("--port=65536", "65536 is out of range; accepted: 0 to 65535"),
        ("--port=1", "--port is 1: taken; accepted: any other"),
        ("--seconds=0", "0 is out of range; accepted: above 0"),
        ("--seconds=nan", "nan is out of range; accepted: above 0"),
        ("--seconds=inf", "inf is out of range"),
        ("--seconds=x", "'x' is not a number"),
        ("--driver-root=run", "'run' is a relative path; accepted: an absolute one"),
        ("--mode=x", "'x': accepted: fast, slow"),
        ("--colour=green", "'green': accepted: red, blue"),
        ("--policy=blue", "'blue': accepted: red"),
        ("--node=", "it is empty"),
        ("--unknown", "unrecognized arguments"),
        ("--por=1", "unrecognized arguments"),
        ("--log-level=loud", "accepted: debug, info, warning, error"),
    ],
)
def test_refusals_are_sentences(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argument)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(NODE_NAME="")
    assert "--node" in capsys.readouterr().err


def test_help_has_every_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "What the test needs to know." in text
    for name, doc in (settings.docs(Settings) | settings.docs(Paint)).items():
        if name not in ("pod_name", "paint"):
            assert doc in text
    assert "TCP port of /metrics, 100 % of them. 0: any free one. (default: 9400)" in text
    assert "Name of the node. (environment: NODE_NAME)" in text
    assert "--pod-name" not in text
