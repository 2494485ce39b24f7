"""Dialects by configuration: what the text may say, and what a node has of their resources."""

import json
from typing import Any

import pytest

from unigpu import configured_dialects, errors, vendor_resources
from unigpu.configured_dialects import STANDARD, HamiNames
from unigpu.vendor_resources import Counts

ACME = {"name": "acme", "shape": "perGpu", "count": "a.io/gpu", "memory": "a.io/mem", "memoryUnit": 512}


def load(additional: list[dict[str, Any]], **hami: str) -> configured_dialects.Words:
    return configured_dialects.load(configured_dialects.dump(additional, hami))


def test_nothing_is_the_standard() -> None:
    assert configured_dialects.load("") == load([]) == STANDARD
    assert configured_dialects.resources(STANDARD) is vendor_resources.RESOURCES


def test_resources() -> None:
    words = load([ACME], count="c.io/gpu")
    assert words.hami == HamiNames(count="c.io/gpu")
    found = configured_dialects.resources(words)
    assert found["c.io/gpu"].counts is found["a.io/gpu"].counts is Counts.SLOTS
    assert found["a.io/mem"].unit_bytes == 512 << 20
    assert vendor_resources.NVIDIA_GPU not in found
    assert configured_dialects.more(words) == ("a.io/gpu", "a.io/mem", "c.io/gpu")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "dialects can't be read"),
        ('{"more": 1}', "unknown field more; accepted: additional, hamiResourceNames"),
        (json.dumps({"additional": [ACME | {"shape": "round"}]}), "round"),
        (json.dumps({"additional": [ACME | {"count": "gpu"}]}), "not a resource name with a domain"),
        (json.dumps({"additional": [ACME | {"count": ""}]}), "count of acme is missing"),
        (json.dumps({"additional": [ACME | {"cpu": "x.io/y"}]}), "unknown field cpu"),
        (json.dumps({"additional": [ACME | {"policy": "unlimited"}]}), "accepted: hard or soft"),
        (json.dumps({"additional": [ACME | {"memoryUnit": 0}]}), "out of range"),
        (json.dumps({"additional": [ACME | {"memory": "nvidia.com/gpumem"}]}), "nvidia.com/gpumem has two meanings"),
        (json.dumps({"additional": [ACME, ACME | {"count": "b.io/g", "memory": "b.io/m"}]}), "there are two of it"),
        (json.dumps({"hamiResourceNames": {"count": "aliyun.com/gpu"}}), "has two meanings"),
        (
            json.dumps(
                {
                    "additional": [
                        {"name": "b", "shape": "byCore", "cores": "b.io/c", "memory": "b.io/m", "count": "b.io/n"}
                    ]
                }
            ),
            "shape byCore doesn't have",
        ),
    ],
)
def test_what_cant_be_meant_is_refused(text: str, told: str) -> None:
    with pytest.raises(errors.Malformed, match="dialects can't be read") as refused:
        configured_dialects.load(text)
    assert told in str(refused.value)
