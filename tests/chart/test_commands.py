"""Helm's commands in the pages: the chart takes the values that they set."""

import itertools
from pathlib import Path

import pytest

from tests.chart.rendering import CHART, helm
from tests.unit.docs.pages import commands, pages

VALUES = ("--set", "--set-string", "--set-json")


def settings() -> dict[tuple[str, ...], Path]:
    """Return what commands set of our chart's values, each with the first page that has it."""
    found: dict[tuple[str, ...], Path] = {}
    for page in pages():
        for verb in ("install", "upgrade"):
            for words in commands(page, "helm", verb):
                if "helm/unigpu" in words:
                    pairs = itertools.pairwise(words)
                    found.setdefault(tuple(word for pair in pairs if pair[0] in VALUES for word in pair), page)
    return found


@pytest.mark.parametrize("arguments", settings(), ids=lambda words: " ".join(words[1::2]) or "defaults")
def test_the_chart_takes_what_a_page_sets(arguments: tuple[str, ...]) -> None:
    done = helm("template", "unigpu", CHART, *(word.replace("…", "x") for word in arguments))
    assert done.returncode == 0, f"{settings()[arguments]}: {done.stderr}"


def test_commands_are_found() -> None:
    assert Path("README.md") in settings().values() and len(settings()) > 5
