"""Documents that are read in one step say the same as when each field is looked at, whatever they contain."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unigpu import allocations, documents, errors, gpus, quick_forms
from unigpu.units import MAX_MEMORY

ALLOCATION = {
    "version": 1,
    "node": "gpu-1",
    "containers": {
        "main": [
            {"gpu": "GPU-a", "memory": 2048, "cores": 25},
            {"gpu": "GPU-b", "memory": 0, "cores": 100, "whole": True},
        ],
        "side": [],
    },
}
INVENTORY = {
    "version": 1,
    "gpus": [
        {
            "uuid": "GPU-a",
            "index": 0,
            "minor": 3,
            "model": "A100",
            "memory": 81920,
            "healthy": False,
            "links": {"GPU-b": 100},
            "bus": "0000:3b:00.0",
            "fault": {"reason": "XID 79", "since": "2026-01-01T00:00:00Z", "epoch": "boot"},
            "foreign": 7,
            "numa": 1,
        },
        {"uuid": "GPU-b", "index": 1, "minor": 1, "model": "A100", "memory": 81920, "healthy": True, "links": {}},
    ],
}
ODD = (
    "null true false 0 -1 1 1.0 1e2 -0 1e999 NaN Infinity 18446744073709551616 100 101 65535 65536 2147483648 "
    f'{MAX_MEMORY} {MAX_MEMORY + 1} "" "GPU-b" "\\ud800" "\\u0000" [] {{}} [{{}}] {{"a":1}} {"9" * 5000}'
).split(" ")
"""JSON, and what some readers take for it, in place of a value."""
FORMS: dict[str, tuple[Callable[[str], object], Any]] = {
    "allocation": (allocations.load, ALLOCATION),
    "inventory": (gpus.load, INVENTORY),
}


def outcome(load: Callable[[str], object], text: str) -> object:
    try:
        return repr(load(text))  # 1 and True are equal, and must not be taken for each other
    except errors.Malformed as error:
        return str(error)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside."""
    yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*way, key))


def changed(document: Any, way: tuple[Any, ...], odd: str | None) -> str:
    """The document's text with one value replaced, or left out."""
    made = json.loads(json.dumps(document))
    if not way:
        return odd or ""
    inner = made
    for key in way[:-1]:
        inner = inner[key]
    if odd is None:
        del inner[way[-1]]
    else:
        inner[way[-1]] = "<odd>"
    return json.dumps(made).replace('"<odd>"', odd or "")


@pytest.mark.parametrize("form", FORMS)
def test_whatever_stands_in_place_of_a_value(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load, document = FORMS[form]
    texts = [changed(document, way, odd) for way in places(document) for odd in (*ODD, None)]
    texts += [
        json.dumps(document),
        json.dumps(document, indent=2) + "\n",
        "\ufeff" + json.dumps(document),
        json.dumps({**document, "more": 1}),
        json.dumps(document).replace('"version": 1', '"version": 7, "version": 1'),
        "[" * 100_000,
        json.dumps(document).replace('"version": 1', '"version": 1, "more": ' + "[" * 100_000),
        json.dumps(document) + "x",
        json.dumps(document)[:-1],
        json.dumps(document).replace("GPU-a", "GPU-\udcff"),
        json.dumps(document).replace("GPU-a", "GPU-\\u00e4"),
    ]
    dice = random.Random(5)
    whole = json.dumps(document)
    texts += [whole[:at] + dice.choice('0"{}[],:x ') + whole[at + 1 :] for at in range(len(whole))]
    found = [outcome(load, text) for text in texts]
    monkeypatch.setattr(quick_forms, "_decoded", lambda form, text: None)
    wanted = [outcome(load, text) for text in texts]
    for text, one, other in zip(texts, found, wanted, strict=True):
        assert one == other, text[:2000]
    assert len({*wanted}) > 50


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_here_is_read_in_one_step(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nothing is won."""
    load, document = FORMS[form]
    monkeypatch.setattr(documents, "decode", None)
    dumps: dict[str, Callable[[Any], str]] = {"allocation": allocations.dump, "inventory": gpus.dump}
    seen = load(json.dumps(document))
    assert load(dumps[form](seen)) == seen
