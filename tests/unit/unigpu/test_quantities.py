import pytest

from unigpu import quantities
from unigpu.units import MiB


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("5", 5), ("3k", 3000), ("1e3", 1000), ("2000m", 2), ("5.0", 5), (" 7 ", 7), ("1Ki", 1024), ("+4", 4)],
)
def test_whole_numbers(text: str, number: int) -> None:
    assert quantities.count(text) == number


@pytest.mark.parametrize("text", ["5.5", "-1", "", "x", "1 2", "1e", "1.5Ki1", "inf", "0x10", "9" * 40, "500m", "٣"])
def test_texts_that_are_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|negative"):
        quantities.count(text)


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("3", 1024, 3),
        ("2Gi", 1024, 2),
        ("2Gi", 1, 2048),
        ("2Gi", 256, 8),
        ("512Mi", 256, 2),
        ("3k", 1, 3000),
        ("1.5Gi", 1, 1536),
    ],
)
def test_memory_with_a_binary_suffix_is_bytes(text: str, unit: int, amount: int) -> None:
    assert quantities.amount(text, MiB(unit)) == amount


def test_bytes_that_make_no_whole_unit() -> None:
    with pytest.raises(ValueError, match="whole number"):
        quantities.amount("100Mi", MiB(256))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [("3k", "3000", True), ("1", "2", False), ("2Gi", "2048Mi", True), ("x", "x", True), ("x", "1", False)],
)
def test_equality_is_of_values(one: str, other: str, equal: bool) -> None:
    assert quantities.same(one, other) is equal
