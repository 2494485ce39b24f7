"""Every parser of foreign text answers generated inputs with a value or its error.

`make check-parsers` has 1,000,000 inputs for each.
"""

import itertools
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fuzz import mutants
from tests.unit.fuzz.parsers import PARSERS, Parser
from tests.unit.fuzz.run import Count, Fault, judge, run

INPUTS = int(os.environ.get("UNIGPU_EXAMPLES", "300"))
TEXT = sorted(name for name, parser in PARSERS.items() if isinstance(parser.sample, str) and not parser.document)
BYTES = sorted(name for name, parser in PARSERS.items() if isinstance(parser.sample, bytes))
DOCUMENTS = sorted(name for name, parser in PARSERS.items() if parser.document)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", PARSERS)
def test_the_valid_input_is_read(name: str) -> None:
    parser = PARSERS[name]
    assert run(parser, 1, 0).values == 1


@pytest.mark.parametrize("name", PARSERS)
def test_mutants_of_the_valid_input(name: str) -> None:
    found = run(PARSERS[name], INPUTS, seed=1)
    assert found.inputs == INPUTS


@pytest.mark.parametrize("name", TEXT)
@given(text=st.text() | st.from_regex(r"[\[\]{}:,\"0-9eE.+a-z-]{0,60}"))
def test_any_text(name: str, text: str) -> None:
    judge(PARSERS[name], text, Count())


@pytest.mark.parametrize("name", BYTES)
@given(content=st.binary(max_size=200))
def test_any_bytes(name: str, content: bytes) -> None:
    judge(PARSERS[name], content, Count())


@pytest.mark.parametrize("name", DOCUMENTS)
@given(document=JSON)
def test_any_document(name: str, document: object) -> None:
    judge(PARSERS[name], document, Count())


def test_a_faulty_parser_is_found() -> None:
    def faulty(text: str) -> object:
        return json.loads(text)["a"]

    with pytest.raises(Fault, match=r"KeyError|TypeError|IndexError|RecursionError"):
        run(Parser(faulty, '{"a": 1}', (ValueError,)), 1000, seed=1)


def test_each_seed_gives_other_inputs_and_the_same_each_time() -> None:
    def first(seed: int) -> list[str]:
        return list(itertools.islice(mutants.texts('{"a": 1}', seed), 20))

    assert first(1) == first(1) != first(2)
