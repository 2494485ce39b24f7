"""What README.md shows has the form of what is printed; tests/cluster/test_readme.py runs its commands."""

import pytest

from demo import report
from tests.unit.demo.pods import output, pod
from tests.unit.docs import readme

PRINTED = """\
[8/8] Pods
 Pod            GPU assigned
 ────────────────────────────
 a-56c874b878-msb5x   GPU-8eb22e73…

Admission refused one pod.
 one
 two
 three
The cluster stays up.
"""


def test_the_demos_output_has_the_heads_that_it_prints() -> None:
    row = report.row(pod(), output(), {})
    rendered = report.render([row], "denied", "1 node", [], existing=False).splitlines()
    shown = readme.demo_output().splitlines()
    heads = next(index for index, line in enumerate(rendered) if "Program sees" in line)
    assert [line.split() for line in shown[:2]] == [line.split() for line in rendered[heads : heads + 2]]
    assert report.LEGEND in shown
    assert [line for line in rendered if line.endswith(":") and line[0] not in " T"] == [
        line for line in shown if line.endswith(":") and line[0] != " "
    ]


def test_commands_are_found_as_printed() -> None:
    assert readme.command("make down").startswith("make down ")
    assert "--set global.registry=REGISTRY --set nodeAgent" in readme.command(
        "helm install unigpu helm/unigpu --namespace unigpu-system --create-namespace --wait"
    )
    assert len(readme.commands()) > 10


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (PRINTED, ""),
        ("Pod GPU assigned\n ──\n a-0123456789-abcde GPU-00000000…\n", ""),
        ("Admission refused one pod.\n one\n …\n three\n", ""),
        ("Admission refused one pod.\n two\n", "and printed was\n  one"),
        ("Admission refused one pod.\n …\n four\n", "nothing like it"),
        ("Admission refused a pod.\n", "nothing like it"),
        ("The cluster stays up.\n more\n", "nothing like it"),
    ],
)
def test_a_difference_is_found(shown: str, said: str) -> None:
    found = readme.difference(shown, PRINTED)
    assert bool(found) == bool(said) and said in found
