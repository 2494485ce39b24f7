"""Commands in the pages are ones that the programs take: names, options and values that can be."""

from pathlib import Path

import pytest

from cli import __main__ as kubectl_unigpu
from simulator import __main__ as unigpu_sim
from tests.unit.docs.pages import commands, pages, unmarked

PROGRAMS = {"kubectl unigpu": kubectl_unigpu.parser, "unigpu-sim": unigpu_sim.parser}


def written(program: str) -> list[tuple[Path, list[str]]]:
    """Return each command of that program with the page that has it."""
    return [(page, words) for page in pages() for words in commands(page, *program.split())]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_takes_its_commands(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for page, words in written(program):
        try:
            PROGRAMS[program]().parse_args(words)
        except SystemExit as ended:
            if ended.code != 0:  # not --help
                wrong.append(f"{page}: {program} {' '.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")
    assert wrong == []


def test_commands_are_found() -> None:
    assert (Path("README.md"), ["status"]) in written("kubectl unigpu")
    assert len(written("kubectl unigpu")) > 40 and len(written("unigpu-sim")) >= 3


def test_a_wrong_option_would_be_seen() -> None:
    with pytest.raises(SystemExit):
        kubectl_unigpu.parser().parse_args(["status", "--no-such-option"])


@pytest.mark.parametrize("page", pages(), ids=str)
def test_commands_are_in_blocks_that_say_so(page: Path) -> None:
    """`sh` for what a reader copies, `console` with what is answered; other blocks aren't looked at."""
    assert [line for line in unmarked(page) if line.removeprefix("$ ").startswith((*PROGRAMS, "helm ", "make "))] == []
