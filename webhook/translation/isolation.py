"""Whether a container's author has switched isolation off, by environment variable."""

from dataclasses import dataclass

from unigpu.findings import Problem
from webhook.translation.pods import Container

SWITCHES = {
    "CGPU_DISABLE": {"true": False, "1": False, "false": True, "0": True, "": True},
    "CUDA_DISABLE_CONTROL": {"true": False, "1": False, "false": True, "0": True, "": True},
}
"""Vendors' variables, and which values leave the container isolated."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the container's switches say."""

    isolated: bool
    original_fields: dict[str, str]
    """The switches that have an effect, as written."""
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]


def decide(container: Container, *, opting_out: bool) -> Isolation:
    """Read the switches of a container that has a GPU; `opting_out` is whether its author may use them.

    A value that isn't known, or not known at admission, leaves the container isolated and is warned of.
    """
    asked, warnings, problems = {}, [], []
    for name, meaning in SWITCHES.items():
        if name not in container.env:
            continue
        value = container.env[name]
        if value is None:
            warnings.append(f"{name} comes from elsewhere (valueFrom) and has no effect; the container is isolated")
        elif value not in meaning:
            warnings.append(f'{name} = {value!r} is not known ("true" or "false"); the container is isolated')
        elif not meaning[value]:
            asked[name] = value
            if not opting_out:
                why = "this platform doesn't let containers switch isolation off"
                problems.append(Problem(container.name, f"env {name}", value, why, '"false", or no such variable'))
    return Isolation(not asked, asked, tuple(warnings), tuple(problems))


def useless(container: Container) -> tuple[str, ...]:
    """Warnings for switches of a container without a GPU."""
    return tuple(f"{name} has no effect without a request for a GPU" for name in SWITCHES if name in container.env)
