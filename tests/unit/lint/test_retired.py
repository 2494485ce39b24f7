"""The check for retired names and words finds what it is for, and lets alone what only looks like it."""

import pytest

from lint import retired


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("docs/install.md", "Each card has 16 shares."),
        ("docs/install.md", "The list is read anew."),
        ("unigpu/policy.py", '"""Whoever writes it."""'),
        ("webhook/app.py", "from unigpu.books import Books"),
        ("helm/unigpu/values.yaml", "# unigpu.dev/largest-gpus"),
        ("docs/reference/metrics.md", "`unigpu_container_memory_refused_total`"),
        ("libvgpu/compute/launch.c", "/* The card of the launch. */"),
    ],
)
def test_a_planted_word_is_found(path: str, line: str) -> None:
    found = list(retired.find(path, f"first\n{line}\n"))
    assert found, line
    assert {one.line for one in found} == {2}


@pytest.mark.parametrize(
    "line",
    [
        "discard the wildcard, see 10-tencent-half-card.yaml",
        "a GPU's memory",
        "the ledger counts it",
        "policies spread and binpack",
    ],
)
def test_other_words_are_let_alone(line: str) -> None:
    assert not list(retired.find("docs/install.md", line))


def test_words_of_c_are_those_of_its_comments_and_strings() -> None:
    text = 'struct card *card;\n/* Two\n * cards. */\nint card; // "a card"\nconst char *text = "\\"card";\n'
    assert [one.line for one in retired.find("simulator/a.c", text)] == [3, 4, 5]


def test_names_are_checked_where_words_are_not() -> None:
    assert not list(retired.find("helm/unigpu/values.schema.json", '"card"'))
    assert list(retired.find("helm/unigpu/values.schema.json", '"unigpu.dev/largest-gpus"'))


def test_the_tables_themselves_are_exempt() -> None:
    assert list(retired.checked(["lint/retired.py", "docs/glossary.md", "a.bin", "README.md"])) == ["README.md"]
