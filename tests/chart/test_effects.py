"""Each value of the chart, changed once: something that is installed changes, and an API server takes what it becomes.

Rendered twice, nothing changes.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import settings
from tests.chart import apiserver
from tests.chart.dry_run import DryRun
from tests.chart.rendering import CHART, EVERY_OPTION, helm
from tests.chart.test_values import DEFAULTS, EVERY, SCHEMA, at, leaves

EFFECTS = "effects-system"
"""A namespace of its own, because other tests install the chart on the same server."""

WITHOUT_EFFECT: dict[tuple[str, ...], str] = {}
"""Values that change no object, each with the reason."""
if not settings.at_least(apiserver.KUBERNETES, 30):
    WITHOUT_EFFECT["webhook", "devicesWithoutRequest"] = "a policy, which the API server has from Kubernetes 1.30 on"


BASES: tuple[dict[str, str], ...] = ({}, {"page.enabled": "true"})
"""Settings beside which a value is tried alone: the defaults, and parts that are off by default."""


@cache
def rendered(values: Path | None, *more: str) -> tuple[Any, ...]:
    """All objects, hooks among them."""
    files = () if values is None else ("--values", values)
    place = ("--namespace", EFFECTS, *apiserver.AS_ON_SERVER)
    done = helm("template", "release", CHART, *place, *files, *more)
    assert done.returncode == 0, done.stderr
    return tuple(item for item in yaml.safe_load_all(done.stdout) if item)


def written(file: Path, values: Mapping[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(dict(values)))
    return file


def only(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Values that set this one alone."""
    for name in reversed(path):
        value = {name: value}
    found: dict[str, Any] = value
    return found


def every_but(path: tuple[str, ...]) -> dict[str, Any]:
    """Every option set, and this one left at its default."""
    found: dict[str, Any] = copy.deepcopy(EVERY)
    at(found, path[:-1])[path[-1]] = at(DEFAULTS, path)
    return found


@pytest.fixture(scope="module")
def server(kubeconfig: Path) -> Iterator[DryRun]:
    """It has taken what the chart is with its defaults, and with every option."""
    with contextlib.closing(DryRun(kubeconfig, EFFECTS)) as made:
        assert made.refusals((*rendered(None), *rendered(EVERY_OPTION))) == []
        yield made


def differing(after: tuple[Any, ...], before: tuple[Any, ...]) -> list[Any]:
    """What isn't there before; or all, if something only went away."""
    return [one for one in after if one not in before] or ([] if after == before else [*after])


@pytest.mark.parametrize("path", [path for path, _ in leaves(SCHEMA)], ids=".".join)
def test_a_value_changes_what_is_installed(path: tuple[str, ...], tmp_path: Path, server: DryRun) -> None:
    """Alone, a value of a part that is off is void; with all others set, one that another replaces."""
    found = differing(rendered(written(tmp_path / "but.yaml", every_but(path))), rendered(EVERY_OPTION))
    for base in () if found else BASES:
        alone = [word for key, value in base.items() for word in ("--set", f"{key}={value}")]
        changed = written(tmp_path / "only.yaml", only(path, at(EVERY, path)))
        found = found or differing(rendered(changed, *alone), rendered(None, *alone))
    assert bool(found) != (path in WITHOUT_EFFECT), WITHOUT_EFFECT.get(path, "the value changes nothing")
    assert server.refusals(found) == []


@pytest.mark.parametrize("values", [None, EVERY_OPTION], ids=["defaults", "every option"])
def test_what_is_rendered_twice_is_the_same(values: Path | None) -> None:
    """Argo CD and Flux render again and again, and would take a random value for a change."""
    before = rendered(values)
    rendered.cache_clear()
    assert rendered(values) == before
