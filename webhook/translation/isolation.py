"""The environment variables by which a container's author switches isolation off."""

from dataclasses import dataclass, field

from unigpu.findings import Problem, Remark
from webhook.translation.pods import Container

SWITCHES = {
    "CGPU_DISABLE": {"true": False, "1": False, "false": True, "0": True, "": True},
    "CUDA_DISABLE_CONTROL": {"true": False, "1": False, "false": True, "0": True, "": True},
}
"""Vendors' variables, and which values leave the container isolated."""
_ACCEPTED = '"true" or "false"'


@dataclass(frozen=True, slots=True)
class Isolation:
    """A container's switches."""

    isolated: bool = True
    original_fields: dict[str, str] = field(default_factory=dict)
    """The switches that have an effect, as written."""
    warnings: tuple[str, ...] = ()
    """Of a container with a GPU."""
    problems: tuple[Problem, ...] = ()
    without_gpu: tuple[str, ...] = ()
    """Warnings of a container without a GPU."""


NO_SWITCHES = Isolation()


def read(container: Container, *, opting_out: bool) -> Isolation:
    """Read the container's switches; `opting_out` is whether its author may use them.

    A value that isn't known, or isn't known at admission, leaves the container isolated and causes a warning.
    """
    if SWITCHES.keys().isdisjoint(container.env):
        return NO_SWITCHES
    where = f"container {container.name}"
    used, warnings, problems, without_gpu = {}, [], [], []
    for name, meaning in SWITCHES.items():
        if name not in container.env:
            continue
        value = container.env[name]
        variable = f"env {name}"
        without_gpu.append(str(Remark(where, variable, value or "", "has no effect without a request for a GPU")))
        if value is None:
            why = "has no effect, because its value isn't known at admission; the container stays isolated"
            warnings.append(str(Remark(where, variable, "valueFrom", why, _ACCEPTED)))
        elif value not in meaning:
            warnings.append(
                str(Remark(where, variable, value, "unknown value; the container stays isolated", _ACCEPTED))
            )
        elif not meaning[value]:
            used[name] = value
            if not opting_out:
                why = "this platform doesn't let containers switch isolation off"
                problems.append(Problem(container.name, variable, value, why, '"false", or no such variable'))
    return Isolation(not used, used, tuple(warnings), tuple(problems), tuple(without_gpu))
