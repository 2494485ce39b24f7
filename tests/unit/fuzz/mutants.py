"""Generate inputs from a valid one: its parts replaced, repeated, dropped, and torn, by a seeded random generator."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+[A-Za-z]*|\w+|\s+|.', re.DOTALL)
_HOSTILE = (
    *("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "-1", "0", "1.5", "1e3", "null", "true", "false", "[]", "{}"),
    *("1" * 400, "1" * 5000, str(2**31), str(2**63), str(2**64), "0x10", "1_000", "\u0661", "1e-400", "9" * 18 + "Ei"),
    *(
        '""',
        '"\\ud800"',
        '"\\u0000"',
        "\ud800",
        '"text"',
        '"-1"',
        '"1e999"',
        '"\u202e"',
        "\x00",
        "\u00e9",
        "=",
        ",",
        ":",
    ),
    *("[" * 2000, "{" * 2000, '{"a":' * 1200, "[" * 900 + "]" * 900, '{"a":1}', "[[1]]", "memory=", "Gi", "%"),
    *('{"version":1}', '{"a":1,"a":2}', '"' + "x" * 5000 + '"', "/", "..", "pod", "\n", "0::", "{", "}", "[", "]", '"'),
)
_ABSENT: Any = object()
_VALUES: tuple[Any, ...] = (
    *(
        _ABSENT,
        _ABSENT,
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**30,
        float("inf"),
        float("nan"),
        "",
        "text",
        "\ud800",
        "1e999",
    ),
    *([], {}, [None], [[]], [{}], {"": {}}, {"name": None}, {"a": {"b": []}}, [1, "a", None], "x" * 5000, "1" * 5000),
    "2026-01-01T00:00:00Z",
    json.loads("[" * 200 + "]" * 200),
)
"""Of a document that a JSON reader accepted: Python's own takes infinity and NaN too."""
Place = tuple[Any, ...]
_WORDS = (b"\x00", b"\xff", b"\x00" * 8, b"\xff" * 8, b"\x80", b"\x7f" * 8, b"UGUS", b"UGPL", b"\x01\x00\x00\x00")


def texts(sample: str, seed: int) -> Iterator[str]:
    """Yield mutants of a text without end; each seed gives others."""
    choice = random.Random(seed)
    tokens = _TOKEN.findall(sample)
    while True:
        mutant = list(tokens)
        for _ in range(1 + int(choice.expovariate(0.7))):
            place = choice.randrange(len(mutant)) if mutant else 0
            kind = choice.randrange(8)
            if kind < 3 or not mutant:
                mutant[place : place + 1] = [choice.choice(_HOSTILE)]
            elif kind == 3:
                mutant[place] = choice.choice(tokens)
            elif kind == 4:
                del mutant[place : place + 1 + choice.randrange(3)]
            elif kind == 5:
                end = min(len(mutant), place + 1 + choice.randrange(12))
                mutant[place:place] = mutant[place:end]
            elif kind == 6:
                word = mutant[place]
                at = choice.randrange(len(word) + 1)
                mutant[place] = (
                    word[:at] + chr(choice.choice((choice.randrange(128), choice.randrange(0x3000)))) + word[at:]
                )
            else:
                del mutant[place:]
        yield "".join(mutant)[:40_000]


def documents(sample: Any, seed: int) -> Iterator[Any]:
    """Yield mutants of a decoded JSON document without end."""
    choice = random.Random(seed)
    places = list(_places(sample))
    inside = {place: texts(text, seed) for place, text in _texts(sample).items()}
    while True:
        mutant = sample
        for _ in range(1 + int(choice.expovariate(0.9))):
            place = choice.choice(places)
            if place in inside and choice.random() < 0.8:
                mutant = _with(mutant, place, next(inside[place]))
            else:
                mutant = _with(mutant, place, choice.choice(_VALUES))
        yield mutant


def _places(document: Any, at: Place = ()) -> Iterator[Place]:
    yield at
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from _places(value, (*at, key))


def _texts(document: Any) -> dict[Place, str]:
    """Annotations and other texts that are parsed in turn."""
    found = {}
    for place in _places(document):
        value = document
        for key in place:
            value = value[key]
        if isinstance(value, str) and value:
            found[place] = value
    return found


def _with(document: Any, place: Place, value: Any) -> Any:
    """The document with another value there, or without it; as it is where an earlier change removed the place."""
    if not place:
        return None if value is _ABSENT else value
    key, *rest = place
    if isinstance(document, dict) and key in document:
        copy: Any = dict(document)
    elif isinstance(document, list) and isinstance(key, int) and key < len(document):
        copy = list(document)
    else:
        return document
    if not rest and value is _ABSENT:
        del copy[key]
    else:
        copy[key] = _with(copy[key], tuple(rest), value)
    return copy


def contents(sample: bytes, seed: int) -> Iterator[bytes]:
    """Yield mutants of bytes without end."""
    choice = random.Random(seed)
    while True:
        mutant = bytearray(sample)
        for _ in range(1 + int(choice.expovariate(0.4))):
            place = choice.randrange(len(mutant) + 1)
            kind = choice.randrange(6)
            if kind < 2:
                mutant[place : place + 1] = bytes([choice.randrange(256)])
            elif kind == 2:
                word = choice.choice(_WORDS)
                mutant[place : place + len(word)] = word
            elif kind == 3 and len(mutant) > 8:
                # Most of what is read lies in the first hundreds of bytes.
                at = choice.randrange(min(len(mutant), 512) - 8)
                mutant[at : at + 8] = choice.randbytes(8)
            elif kind == 4:
                del mutant[place : place + choice.randrange(64)]
            elif choice.random() < 0.3:
                del mutant[place:]
        yield bytes(mutant)
