"""Strict reading of JSON that other programs or people wrote: annotations of pods and nodes, and files on a node.

Python's own reader accepts more than JSON allows, and its values then fail far from where they were read: `1e999`
becomes infinity, `NaN` compares unequal to itself, a lone surrogate can't be written to a file or a log. Deep nesting
ends in a RecursionError. `decode` refuses each of these at once, with an error of `INVALID`.
"""

import json
import math
from typing import Any

INVALID = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Every error that reading a document of the wrong form can raise."""
MAX_INDEX = 0xFFFF
"""Highest number of a GPU, or of GPUs, that is taken seriously."""
MAX_NUMBER = 0x7FFFFFFF
"""Highest number of anything else; it fits the 32-bit fields of the node's files."""


def decode(text: str) -> dict[str, Any]:
    """Return the JSON object in a text.

    Raises ValueError, TypeError or RecursionError for anything else: no JSON, another type, a number that isn't finite,
    nesting that is too deep, a text that is not Unicode.
    """
    try:
        found, end = _DECODER.raw_decode(text)  # most texts, and faster
    except ValueError:
        end = -1
    if end != len(text):
        found = _DECODER.decode(text)  # spaces around it, or an error that says what is wrong
    if not isinstance(found, dict):
        raise ValueError(f"it is {type(found).__name__}, not an object")
    if "\\u" in text or not text.isascii():
        json.dumps(found, ensure_ascii=False).encode()
    return found


def whole(value: object, high: int, low: int = 0) -> int:
    """Return a whole number from `low` to `high`. Raises ValueError for anything else, booleans included."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{shorten(value)} is not a whole number")
    if not low <= value <= high:
        raise ValueError(f"{shorten(value)} is out of range; accepted: {low} to {high}")
    return value


def text(value: object) -> str:
    """Return a string. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{shorten(value)} is not a string")
    return value


def flag(value: object) -> bool:
    """Return true or false. Raises ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{shorten(value)} is not true or false")
    return value


def brief(error: Exception) -> str:
    """Return the reason in an error's words, cut to what an event or a log line holds."""
    shown = str(error) if isinstance(error, ValueError) and str(error) else repr(error)
    return shown if len(shown) <= 300 else shown[:299] + "…"


def shorten(value: object) -> str:
    """Return a value as Python writes it, cut to what a sentence holds."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1 << 256:
        return "a number of more than 77 digits"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:79] + "…"


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_constant)
