"""Parse Kubernetes quantities of GPU resources: whole numbers, and amounts of memory.

The API server sends quantities in canonical form, where 3000 becomes `3k`; manifests have plain numbers. In a field
that counts memory in some unit, a binary suffix (`2Gi`) means bytes, because it can't mean anything else.

Format: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re
from fractions import Fraction

from unigpu.remembered import remembered
from unigpu.units import BYTES_PER_MIB, MiB

_QUANTITY = re.compile(r"([+-]?)([0-9]{1,30})(?:\.([0-9]{0,30}))?(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?[0-9]{1,2}))?")
_BINARY = {letter + "i": 1024**power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {
    letter: Fraction(10) ** power for letter, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}


class NotWhole(ValueError):
    """The quantity is a fraction, and only whole numbers are accepted."""


def parse(text: str) -> tuple[Fraction, bool]:
    """Return the number, and whether it has a binary suffix.

    Raises ValueError if the text isn't a quantity.
    """
    if _plain(text):
        return Fraction(int(text)), False
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a Kubernetes quantity")
    sign, whole, part, binary, decimal, exponent = match.groups()
    number = Fraction(f"{whole}.{part or 0}")
    if binary:
        number *= _BINARY[binary]
    elif decimal:
        number *= _DECIMAL[decimal]
    elif exponent:
        number *= Fraction(10) ** int(exponent)
    return (-number if sign == "-" else number), binary is not None


def count(text: str) -> int:
    """Return the quantity as a whole number of 0 or more.

    Raises ValueError that says what is wrong.
    """
    return int(text) if _plain(text) else _whole(parse(text)[0])


def amount(text: str, unit: MiB) -> int:
    """Return the quantity as a whole number of units of memory; with a binary suffix it is in bytes.

    Raises ValueError that says what is wrong.
    """
    if _plain(text):
        return int(text)
    number, binary = parse(text)
    if binary:
        number /= unit * BYTES_PER_MIB
    return _whole(number)


@remembered(4096)
def same(one: str, other: str) -> bool:
    """Return whether two quantities have the same value, however they are written."""
    if one == other:
        return True
    try:
        return parse(one)[0] == parse(other)[0]
    except ValueError:
        return False


def _plain(text: str) -> bool:
    """Return whether the text is a short row of digits, as nearly all quantities are."""
    return text.isdecimal() and text.isascii() and len(text) <= 18


def _whole(number: Fraction) -> int:
    if number.denominator != 1:
        raise NotWhole("not a whole number")
    if number < 0:
        raise ValueError("negative")
    return number.numerator
