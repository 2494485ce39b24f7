"""How a dialect reads one container: its fields, with limits and units, and a place for what is wrong with them."""

from dataclasses import dataclass, field

from unigpu import names, policy, quantities
from unigpu.findings import Problem, Remark
from unigpu.units import BYTES_PER_MIB, MAX_MEMORY, MiB, Percent
from webhook.translation.options import Options
from webhook.translation.pods import Container, Pod

MAX_GPUS = policy.MAX_GPUS
_BELOW_ONE = {"m": (3, "thousandths"), "u": (6, "millionths"), "n": (9, "billionths")}
"""Suffix → negative power of ten, and its name."""


@dataclass(slots=True)
class ContainerReader:
    """One container, and what a dialect finds out about it.

    `original_fields` collects every field that is read, as a plain number in the vendor's unit. A field that can't be
    understood becomes a problem and reads as 0, so that the dialect goes on and finds the other problems; the caller
    then discards the request.
    """

    pod: Pod
    container: Container
    options: Options
    original_fields: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    count_only: bool = False
    """Set by the dialect: the container names a number of GPUs, and neither memory nor cores."""
    void: set[str] = field(default_factory=set)
    """Resources that the dialect reads and that change nothing in the request."""

    def has(self, resource: str) -> bool:
        """Whether the container names the resource, whatever its value."""
        return self.container.has(resource)

    def text(self, resource: str) -> str:
        """The resource's value as written; empty if absent."""
        return self.container.value(resource)

    def number(self, resource: str, *, high: int, low: int = 0, accepted: str = "", step: int = 1) -> int:
        """Read a whole number from `low` to `high` in steps of `step`; 0, as for an absent field, requests nothing."""
        if not self.has(resource):
            return 0
        accepted = accepted or f"a whole number from {low} to {high}"
        if self._in_thousandths(resource):
            return 0
        try:
            number = quantities.count(self.text(resource))
        except ValueError as error:
            return self._not_understood(resource, error, accepted)
        if number and (not low <= number <= high or number % step):
            why = "out of range" if not low <= number <= high else f"not a multiple of {step}"
            self.refuse(resource, why, accepted)
            return 0
        return self._read(resource, number)

    def gpus(self, resource: str) -> int:
        """Read a number of GPUs, 0 where absent."""
        return self.number(resource, low=1, high=MAX_GPUS, accepted=f"1 to {MAX_GPUS} GPUs for each container")

    def percent(self, resource: str) -> Percent:
        """Read a percentage of one GPU, 0 where absent."""
        return Percent(self.number(resource, low=0, high=100, accepted="a whole number from 0 to 100"))

    def memory(self, resource: str, unit: MiB) -> MiB:
        """Read an amount of memory in the vendor's unit, as MiB; 0 where absent."""
        if not self.has(resource):
            return MiB(0)
        accepted = f"a whole number of {unit_name(unit)}"
        if self._in_thousandths(resource):
            return MiB(0)
        try:
            units = quantities.amount(self.text(resource), unit)
        except ValueError as error:
            return MiB(self._not_understood(resource, error, accepted))
        if units * unit > MAX_MEMORY:
            self.refuse(resource, f"no GPU has that much memory (the unit is {unit_name(unit)})", accepted)
            return MiB(0)
        return MiB(self._read(resource, units) * unit)

    def memory_bytes(self, resource: str) -> MiB:
        """Read an amount of memory in bytes, rounded up to whole MiB; 0 where absent."""
        if not self.has(resource) or self._in_thousandths(resource):
            return MiB(0)
        accepted = "a number of bytes, or a quantity such as 8Gi"
        try:
            number = quantities.count(self.text(resource))
        except ValueError as error:
            return MiB(self._not_understood(resource, error, accepted))
        if number > MAX_MEMORY * BYTES_PER_MIB:
            self.refuse(resource, "no GPU has that much memory (the unit is bytes)", accepted)
            return MiB(0)
        return MiB(-(-self._read(resource, number) // BYTES_PER_MIB))

    def translated(self, resource: str) -> int:
        """Return one of the unified amounts that stand next to the vendor's fields; 0 where there are none.

        They say what a copy has lost with its labels.
        """
        try:
            return quantities.count(self.text(resource)) if resource in names.UNIFIED_RESOURCES else 0
        except ValueError:
            return 0

    def refuse(self, name: str, why: str, accepted: str, value: str | None = None) -> None:
        """Note a problem with a field; its value is looked up unless given."""
        shown = self.text(name) if value is None else value
        self.problems.append(Problem(self.container.name, name, shown, why, accepted))

    def warn(self, name: str, why: str, accepted: str = "", value: str | None = None) -> None:
        """Note what is accepted but probably not meant; the field's value is looked up unless given."""
        shown = self.text(name) if value is None else value
        self.warnings.append(str(Remark(f"container {self.container.name}", name, shown, why, accepted)))

    def label(self, name: str) -> str | None:
        """Read a label of the pod."""
        return self._noted(name, self.pod.labels.get(name))

    def annotation(self, name: str) -> str | None:
        """Read an annotation of the pod."""
        return self._noted(name, self.pod.annotations.get(name))

    def annotation_bytes(self, name: str) -> MiB:
        """Read an annotation that is a Kubernetes quantity of bytes, rounded up to whole MiB; 0 where absent."""
        text = self.annotation(name)
        if text is None:
            return MiB(0)
        accepted = 'a quoted quantity such as "4Gi"'
        try:
            number = quantities.count(text)
        except ValueError as error:
            self.refuse(name, str(error), accepted, value=text)
            return MiB(0)
        mebibytes = -(-number // BYTES_PER_MIB)
        if not 0 < mebibytes <= MAX_MEMORY:
            self.refuse(name, "out of range (the unit is bytes)", accepted, value=text)
            return MiB(0)
        return MiB(mebibytes)

    def annotation_number(self, name: str, high: int) -> int:
        """Read an annotation that is a whole number from 1 to `high`; 0 where absent."""
        text = self.annotation(name)
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= high):
            self.refuse(name, "not a number in range", f'a quoted whole number from "1" to "{high}"', value=text)
            return 0
        return int(text)

    def _noted(self, name: str, value: str | None) -> str | None:
        if value is not None:
            self.original_fields[name] = value
        return value

    def _read(self, resource: str, number: int) -> int:
        self.original_fields[resource] = str(number)
        return number

    def _in_thousandths(self, resource: str) -> bool:
        """Refuse suffixes below one: Kubernetes reads 3000m as 3, and an author who writes it means 3000 MiB."""
        text = self.text(resource).strip()
        number, suffix = text[:-1], text[-1:]
        if suffix not in _BELOW_ONE or not number.isascii() or not number.isdecimal() or len(number) > 18:
            return False
        power, name = _BELOW_ONE[suffix]
        whole, rest = divmod(int(number), 10**power)
        meant = f"{number}, without a suffix" + (f", or {whole}" if whole and not rest else "")
        self.refuse(resource, f"in Kubernetes, the suffix {suffix} means {name}", meant)
        return True

    def _not_understood(self, resource: str, error: ValueError, accepted: str) -> int:
        fraction = "not a whole number, and Kubernetes accepts no fractions of extended resources"
        self.refuse(resource, fraction if isinstance(error, quantities.NotWhole) else str(error), accepted)
        return 0


def unit_name(unit: MiB) -> str:
    """The unit for people: `MiB`, `GiB`, `units of 256 MiB`."""
    if unit == 1:
        return "MiB"
    return "GiB" if unit == 1024 else f"units of {unit} MiB"
