"""values.yaml says of each value what it is."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[3] / "helm/unigpu"
TEXT = (CHART / "values.yaml").read_text()
LINES = TEXT.splitlines()


def paths(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value of the schema that isn't only a group of others."""
    if "properties" not in schema:
        yield path
        return
    for name, part in schema["properties"].items():
        yield from paths(part, (*path, name))


def line_of(path: tuple[str, ...]) -> int:
    """Return the index of the line with the value's key."""
    node = yaml.compose(TEXT)
    line = 0
    for name in path:
        assert isinstance(node, yaml.MappingNode)
        key, node = next(pair for pair in node.value if pair[0].value == name)
        line = key.start_mark.line
    return line


@pytest.mark.parametrize("path", [*paths(json.loads((CHART / "values.schema.json").read_text()))], ids=".".join)
def test_every_value_has_a_comment_right_above_it(path: tuple[str, ...]) -> None:
    assert LINES[line_of(path) - 1].strip().startswith("# ")
