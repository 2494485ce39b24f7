"""Any text at all: a loader returns what it is for or raises Malformed, and nothing else."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fuzz.parsers import PARSERS
from unigpu import documents, errors
from unigpu.units import MAX_MEMORY

Load = Callable[[str], Any]


LOADERS: dict[str, tuple[Load, Any]] = {
    name: (parser.call, json.loads(parser.sample))
    for name, parser in PARSERS.items()
    if not parser.document and parser.sample[:1] == "{" and parser.malformed == (errors.Malformed,)
}
HOSTILE_VALUES = [
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "1" * 400,
    "1" * 5000,
    "-1",
    "1.5",
    "1e3",
    "null",
    "true",
    '"text"',
    '"\\ud800"',
    "[]",
    "{}",
    '{"a":1}',
    "[" * 100_000,
    "[" * 900 + "]" * 900,
    '{"a":' * 900 + "1" + "}" * 900,
    f"{2**63}",
    f"{MAX_MEMORY + 1}",
]


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, itself included."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [at, *(place for key, value in items for place in places(value, (*at, key)))]


def with_value(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = with_value(copy[place[0]], place[1:], value)
    return copy


@pytest.mark.parametrize("name", LOADERS)
def test_the_untouched_document_is_read(name: str) -> None:
    load, document = LOADERS[name]
    assert load(json.dumps(document))


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: value[:12])
@pytest.mark.parametrize("name", LOADERS)
def test_a_hostile_value_anywhere(name: str, value: str) -> None:
    load, document = LOADERS[name]
    for place in places(document):
        text = json.dumps(with_value(document, place, "@@")).replace('"@@"', value)
        try:
            found = load(text)
        except errors.Malformed as error:
            assert str(error).encode()  # it can be logged and written into an event
        else:
            # What is taken is bounded, and can be written again.
            assert len(repr(found)) < 2000
            repr(found).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", LOADERS)
@given(data=st.data())
def test_any_json_anywhere(name: str, data: st.DataObject) -> None:
    load, document = LOADERS[name]
    place = data.draw(st.sampled_from(places(document)))
    text = json.dumps(with_value(document, place, data.draw(JSON)))
    with contextlib.suppress(errors.Malformed):
        load(text)


@pytest.mark.parametrize(
    "text", ["[]", "1", '"a"', "NaN", '{"a": 1e999}', '{"a": "\\udfff"}', "{", "", '{"é": "\\ud800"}']
)
def test_decode_takes_only_objects_of_real_json(text: str) -> None:
    with pytest.raises(documents.INVALID):
        documents.decode(text)


def test_decode_keeps_every_real_text() -> None:
    assert documents.decode('{"a": "\\ud83d\\ude00é"}') == {"a": "😀é"}
