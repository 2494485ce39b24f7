"""Any text at all: a loader returns what it is for or raises Malformed, and nothing else."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import allocations, cordons, documents, errors, gpus, grants, limits, node_report, requests
from unigpu.units import MAX_MEMORY

REQUEST = {"version": 1, "containers": {"main": {"gpus": 1, "memory": 1024, "cores": 10, "dialect": "hami"}}}
ALLOCATION = {
    "version": 1,
    "node": "node-1",
    "containers": {"main": [{"gpu": "GPU-1", "memory": 1024, "cores": 10, "whole": False}]},
}
INVENTORY = {
    "version": 1,
    "gpus": [
        {
            "uuid": "GPU-1",
            "index": 0,
            "minor": 0,
            "model": "H100",
            "memory": 81920,
            "healthy": True,
            "links": {"GPU-2": 100},
            "foreign": 640,
        }
    ],
}
GRANT = {
    "version": 1,
    "namespace": "team",
    "pod": "training",
    "pod_uid": "uid",
    "container": "main",
    "slots": ["slot-1"],
    "shares": [{"gpu": "GPU-1", "memory": 1024, "cores": 10, "whole": False}],
    "indexes": {"GPU-1": 0},
    "isolated": True,
    "dialect": "hami",
    "role": "main",
    "changes": 0,
    "boot": "boot",
}
REPORT = {
    "version": 1,
    "boot": "boot",
    "inventory": json.dumps(INVENTORY),
    "findings": [
        {
            "kind": "stranger",
            "gpu": "GPU-1",
            "pod_uid": "",
            "container": "",
            "memory": 1024,
            "allowed": 0,
            "since": "2026-01-01T00:00:00Z",
            "namespace": "",
            "pod": "",
        }
    ],
}
LIMITS = {"main": {"memory": 1024, "cores": 10, "ceiling": 80, "policy": "soft"}}
APPLIED = {"main": {"memory": 1024, "held": {"GPU-1": 3000}}}
CORDONED = {"GPU-1": {"reason": "fans", "since": "2026-01-31T12:00:00Z"}}

Load = Callable[[str], Any]


def parse_limits(text: str) -> Any:
    return limits.parse(text, ["main"])


LOADERS: dict[str, tuple[Load, Any]] = {
    "request": (requests.load, REQUEST),
    "allocation": (allocations.load, ALLOCATION),
    "inventory": (gpus.load, INVENTORY),
    "grant": (grants.load, GRANT),
    "report": (node_report.load, REPORT),
    "limits": (parse_limits, LIMITS),
    "limits-applied": (limits.load_applied, APPLIED),
    "cordoned": (cordons.load, CORDONED),
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


@pytest.mark.parametrize("name", LOADERS)
@given(text=st.text() | st.from_regex(r"[\[\]{}:,\"0-9eE.+a-z-]{0,60}"))
def test_any_text(name: str, text: str) -> None:
    with contextlib.suppress(errors.Malformed):
        LOADERS[name][0](text)


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
