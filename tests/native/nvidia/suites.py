"""Read suites.toml: which tests of NVIDIA's and of other people's packages run on the simulated driver."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("suites.toml")


@dataclasses.dataclass(frozen=True, slots=True)
class Checkout:
    """Tests that no package ships: folders of one commit of a git repository."""

    ref: str
    folders: tuple[str, ...]
    tests: str
    """Folder of the tests, inside the checkout."""


@dataclasses.dataclass(frozen=True, slots=True)
class GoExamples:
    """Programs of a Go module, each of which has to end well."""

    module: str
    version: str
    examples: str
    """Folder whose folders are the programs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Suite:
    """Tests that run in one environment on one machine. Exactly one of the last three says where they are."""

    name: str
    driver: str
    cuda: str
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Names of files that don't run."""
    checkout: Checkout | None = None
    installed: str | None = None
    """Folder of an installed package, below site-packages."""
    go: GoExamples | None = None
    known: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Causes of failures by a part of the test's name, where the failure's text doesn't tell."""
    arguments: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Of the Go programs, by name."""

    @property
    def folder(self) -> str:
        """Return its name as a folder."""
        return self.name.replace(",", "").replace(" ", "-")


def suites(text: str) -> tuple[Suite, ...]:
    """Return the suites that the text of a suites.toml names; raise ValueError if one has no place of its tests."""
    found = [_suite(fields) for fields in tomllib.loads(text)["suite"]]
    for suite in found:
        if sum(place is not None for place in (suite.checkout, suite.installed, suite.go)) != 1:
            raise ValueError(f"suite {suite.name}: one place for its tests; accepted: checkout, installed, go")
    return tuple(found)


def _suite(fields: dict[str, Any]) -> Suite:
    checkout, go = fields.pop("checkout", None), fields.pop("go", None)
    for key in ("packages", "options", "left_out"):
        fields[key] = tuple(fields.pop(key, ()))
    return Suite(
        **fields,
        checkout=Checkout(checkout["ref"], tuple(checkout["folders"]), checkout["tests"]) if checkout else None,
        go=GoExamples(**go) if go else None,
    )
