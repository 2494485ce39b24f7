"""What is remembered of calls, and that long texts aren't."""

import weakref

from unigpu.remembered import remembered


class Answer:
    """Something whose end can be seen."""


def test_a_short_call_is_made_once_and_a_long_one_each_time() -> None:
    made: list[str] = []

    @remembered(2, longest=3)
    def answer(text: str) -> str:
        made.append(text)
        return text.upper()

    assert [answer(text) for text in ("abc", "abc", "abcd", "abcd")] == ["ABC", "ABC", "ABCD", "ABCD"]
    assert made == ["abc", "abcd", "abcd"]


def test_nothing_of_a_long_call_is_kept() -> None:
    @remembered(8, longest=3)
    def answer(text: str, more: int) -> Answer:
        return Answer()

    kept, gone = weakref.ref(answer("a", 1)), weakref.ref(answer("long text", 1))
    assert kept() is not None
    assert gone() is None


def test_only_so_many_are_kept() -> None:
    @remembered(2)
    def answer(text: str) -> Answer:
        return Answer()

    first = weakref.ref(answer("a"))
    answer("b")
    assert first() is not None
    answer("c")
    assert first() is None
