"""Every option is explained, and docs/reference/cli.md says what --help says."""

import argparse
from collections.abc import Iterator

import pytest

from cli import __main__ as command
from cli import reference


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in command.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


@pytest.mark.parametrize(("name", "parser"), list(parsers()), ids=[name for name, _ in parsers()])
def test_every_argument_has_a_help_text(name: str, parser: argparse.ArgumentParser) -> None:
    assert [action.dest for action in parser._actions if not action.help] == []
    assert (parser.description and "Exit status" in parser.description) or name == "completion"


def test_the_page_is_current() -> None:
    """`python -m cli.reference` makes it so."""
    page = reference.PAGE.read_text()
    assert reference.written(page) == page
    assert all(f"<!-- options of {name} -->" in page for name in command.COMMANDS)


@pytest.mark.parametrize("name", command.COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: kubectl unigpu {name}")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["status", "-n", "x", "-A"],
        ["status", "-w", "--interval", "0"],
        ["explain"],
        ["limit"],
        ["top", "x"],
    ],
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "usage: kubectl unigpu" in capsys.readouterr().err
