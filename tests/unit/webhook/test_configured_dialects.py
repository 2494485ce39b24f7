"""Names that a cluster gives by configuration: dialects of its own, and others for HAMi's."""

import dataclasses
from typing import Any

import pytest

from tests.unit.webhook.test_dialects import Make, read
from unigpu.configured_dialects import ConfiguredDialect, HamiNames, Shape, Words
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.translation.options import Options

SOME = Words(
    additional=(
        ConfiguredDialect("acme", Shape.PER_GPU, "a.io/gpu", "a.io/mem", cores="a.io/cores", memory_unit=MiB(512)),
        ConfiguredDialect("corp", Shape.BY_CORE, memory="b.io/mem", cores="b.io/core", policy=ComputePolicy.SOFT),
    ),
    hami=HamiNames(count="c.io/gpu", memory="c.io/mem"),
)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        (
            {"a.io/gpu": 2, "a.io/mem": 4, "a.io/cores": 20},
            Request(2, MiB(2048), cores=Percent(20), dialect="acme"),
        ),
        ({"a.io/gpu": 1}, Request(1, whole=True, dialect="acme")),
        (
            {"b.io/mem": 1000, "b.io/core": 25},
            Request(1, MiB(1000), cores=Percent(25), ceiling=Percent(100), policy=ComputePolicy.SOFT, dialect="corp"),
        ),
        ({"b.io/core": 200}, Request(2, whole=True, dialect="corp")),
        (
            {"c.io/gpu": 1, "c.io/mem": 500, "nvidia.com/gpucores": 10},
            Request(1, MiB(500), cores=Percent(10), dialect="hami"),
        ),
    ],
    ids=str,
)
def test_names_by_configuration(pod: Make, limits: dict[str, Any], wanted: Request) -> None:
    options = Options(words=SOME)
    request = read(pod(limits), options).request
    assert request is not None
    assert dataclasses.replace(request.containers["main"], original_fields={}) == wanted
    assert "nvidia.com/gpucores" in limits or read(pod(limits)).request is None


def test_a_name_that_hami_no_longer_has_is_left_alone(pod: Make) -> None:
    assert read(pod({"nvidia.com/gpu": 1}), Options(words=SOME)).request is None
