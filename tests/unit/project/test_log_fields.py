"""One search follows a pod through the logs of all parts: who names a pod, names it and its UID."""

import ast
from collections.abc import Iterator

import pytest

from tests.chart.rendering import ROOT

PARTS = ("webhook", "scheduler", "deviceplugin", "exporter", "page", "unigpu_kube", "unigpu_node", "unigpu_service")
POD, UID = "pod", "pod_uid"


def events(text: str) -> Iterator[tuple[int, set[str]]]:
    """Line and fields of each call of `logs.event`; of `**fields` only what is written there."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logs.event":
            yield node.lineno, {keyword.arg for keyword in node.keywords if keyword.arg}


def half_named(text: str) -> list[int]:
    return [line for line, fields in events(text) if (POD in fields) != (UID in fields)]


def files() -> list[str]:
    return [str(file.relative_to(ROOT)) for part in PARTS for file in sorted((ROOT / part).rglob("*.py"))]


def test_a_pod_is_named_with_its_uid() -> None:
    found = {file: half_named((ROOT / file).read_text()) for file in files()}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_every_part_that_handles_pods_names_them() -> None:
    naming = {file.partition("/")[0] for file in files() if POD in _fields(file) or "log_fields" in _text(file)}
    assert {"webhook", "scheduler", "deviceplugin", "exporter"} <= naming


def _text(file: str) -> str:
    return (ROOT / file).read_text()


def _fields(file: str) -> set[str]:
    return {field for _, fields in events(_text(file)) for field in fields}


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        ('logs.event(log, "a", pod="x/y")', [1]),
        ('logs.event(log, "a", pod_uid="1")', [1]),
        ('logs.event(log, "a", pod="x/y", pod_uid="1")', []),
        ('logs.event(log, "a", **fields)', []),
    ],
)
def test_what_the_check_finds(call: str, lines: list[int]) -> None:
    assert half_named(call) == lines
