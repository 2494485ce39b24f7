"""What a dialect reads from and writes its findings on: one container of a pod."""

from dataclasses import dataclass, field

from unigpu import policy, quantities
from unigpu.findings import Problem
from unigpu.units import MAX_MEMORY, MiB, Percent
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod

MAX_GPUS = policy.MAX_GPUS


@dataclass(slots=True)
class ContainerReader:
    """The container, and what was found out about it.

    Fields that are read are kept in `original_fields` as plain numbers in the vendor's unit. A field that can't be
    understood is a problem and reads as 0, so that a dialect can go on and find the others; its caller throws the
    request away.
    """

    pod: Pod
    container: Container
    options: Options
    original_fields: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bare: bool = False
    """Set by the dialect: the container names a number of GPUs, and neither memory nor cores."""

    def has(self, resource: str) -> bool:
        """Whether the container names the resource, whatever its value."""
        return resource in self.container.limits or resource in self.container.requests

    def text(self, resource: str) -> str:
        """The resource's value as written; empty if absent."""
        return self.container.limits.get(resource, self.container.requests.get(resource, ""))

    def number(self, resource: str, *, high: int, low: int = 0, accepted: str = "", step: int = 1) -> int:
        """A whole number from `low` to `high` in steps of `step`; 0, also where the field is absent, means no wish."""
        if not self.has(resource):
            return 0
        accepted = accepted or f"a whole number from {low} to {high}"
        try:
            number = quantities.count(self.text(resource))
        except ValueError as error:
            return self._not_understood(resource, error, accepted)
        if number and (not low <= number <= high or number % step):
            self.refuse(resource, "out of range" if not low <= number <= high else "between the steps", accepted)
            return 0
        return self._read(resource, number)

    def gpus(self, resource: str) -> int:
        """A number of GPUs."""
        return self.number(resource, low=1, high=MAX_GPUS, accepted=f"1 to {MAX_GPUS} GPUs a container")

    def percent(self, resource: str) -> Percent:
        """A percentage of one GPU, 0 where absent."""
        return Percent(self.number(resource, low=0, high=100, accepted="a whole number from 0 to 100"))

    def memory(self, resource: str, unit: MiB) -> MiB:
        """An amount of memory in the vendor's unit, as MiB; 0 where absent."""
        if not self.has(resource):
            return MiB(0)
        accepted = f"a whole number of {unit_name(unit)}"
        try:
            units = quantities.amount(self.text(resource), unit)
        except ValueError as error:
            return MiB(self._not_understood(resource, error, accepted))
        if units * unit > MAX_MEMORY:
            self.refuse(resource, f"the unit is {unit_name(unit)}, and no GPUs have that much", accepted)
            return MiB(0)
        return MiB(self._read(resource, units) * unit)

    def refuse(self, name: str, why: str, accepted: str, value: str | None = None) -> None:
        """Note a problem with a field; its value is looked up unless given."""
        shown = self.text(name) if value is None else value
        self.problems.append(Problem(self.container.name, name, shown, why, accepted))

    def warn(self, text: str) -> None:
        """Note what is accepted but probably not meant. The API server cuts warnings at 256 characters."""
        self.warnings.append(f"container {self.container.name}: {text}")

    def label(self, name: str) -> str | None:
        """A label of the pod, kept in `original_fields`."""
        return self._wish(name, self.pod.labels.get(name))

    def annotation(self, name: str) -> str | None:
        """An annotation of the pod, kept in `original_fields`."""
        return self._wish(name, self.pod.annotations.get(name))

    def _wish(self, name: str, value: str | None) -> str | None:
        if value is not None:
            self.original_fields[name] = value
        return value

    def _read(self, resource: str, number: int) -> int:
        self.original_fields[resource] = str(number)
        return number

    def _not_understood(self, resource: str, error: ValueError, accepted: str) -> int:
        fraction = "not a whole number, and the API server takes no fractions of extended resources"
        self.refuse(resource, fraction if isinstance(error, quantities.NotWhole) else str(error), accepted)
        return 0


def unit_name(unit: MiB) -> str:
    """The unit for people: `MiB`, `GiB`, `units of 256 MiB`."""
    if unit == 1:
        return "MiB"
    return "GiB" if unit == 1024 else f"units of {unit} MiB"
