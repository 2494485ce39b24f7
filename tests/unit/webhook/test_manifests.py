"""The manifests in examples/: what admission makes of each of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from unigpu import names

FOLDER = Path(__file__).parents[3] / "examples" / "manifests"
VGPU, MEMORY, CORES = names.UNIFIED_RESOURCES


def unified(gpus: int, memory: int = 0, cores: int = 0) -> dict[str, str]:
    amounts = {VGPU: gpus, MEMORY: memory, CORES: cores}
    return {name: str(amount) for name, amount in amounts.items() if amount}


OUTCOMES: dict[int, list[dict[str, str]]] = {
    1: [unified(1, 3072)],
    2: [unified(1, 2048)],
    3: [unified(1, 16276 * 1024)],
    4: [unified(1, 2048)],
    5: [unified(1, 3072)],
    6: [unified(1, 3072)],
    7: [unified(4, 8192)],
    8: [unified(1, 2048, 30)],
    9: [unified(2, cores=200)],
    10: [unified(1, 7680, 50)],
    11: [unified(1, 2560, 30)],
    12: [unified(2, cores=200)],
    13: [unified(1, 2560, 25)],
    16: [unified(1, 200)],
    17: [unified(2, 6000, 60)],
    18: [unified(2, 4000), unified(2, cores=200), unified(2, 6000)],
    19: [unified(1, cores=100)],
    20: [unified(1, cores=100)],
}
REFUSED = {14: "tencent.com/vcuda-core = 50", 15: "tencent.com/vcuda-core = 150"}


def pods(number: int) -> list[dict[str, Any]]:
    """The pods, or pod templates, of a manifest."""
    (path,) = FOLDER.glob(f"{number:02d}-*.yaml")
    documents = list(yaml.safe_load_all(path.read_text()))
    return [document if document["kind"] == "Pod" else document["spec"]["template"] for document in documents]


def test_there_are_twenty() -> None:
    assert sorted(int(path.name[:2]) for path in FOLDER.glob("*.yaml")) == list(range(1, 21))
    assert sorted(OUTCOMES | REFUSED) == list(range(1, 21))


@pytest.mark.parametrize("number", OUTCOMES)
def test_understood(admission: Any, number: int) -> None:
    for document in pods(number):
        created = admission.create(document)
        written = [container["resources"]["limits"] for container in document["spec"]["containers"]]
        wanted = [given | unified for given, unified in zip(written, OUTCOMES[number], strict=True)]
        assert [container["resources"]["limits"] for container in created["spec"]["containers"]] == wanted


@pytest.mark.parametrize("number", REFUSED)
def test_refused(admission: Any, number: int) -> None:
    for document in pods(number):
        verdict = admission.mutate(document)
        assert verdict.outcome == "refused"
        assert REFUSED[number] in verdict.reason


def test_the_node_selector_of_20_is_untouched(admission: Any) -> None:
    (document,) = pods(20)
    assert admission.create(document)["spec"]["nodeSelector"] == document["spec"]["nodeSelector"]
