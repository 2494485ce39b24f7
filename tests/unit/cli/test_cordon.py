"""`kubectl unigpu cordon` and `uncordon`: what is written, said and refused."""

import json
from typing import Any

import pytest

from cli import __main__ as command
from cli import cordon, failures
from unigpu import cordons, errors, gpus, names
from unigpu.cordons import Cordon
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

A = GpuUuid("GPU-a")
NOW = "2026-01-31T12:00:00Z"


def node(cordoned: str | None = None, name: str = "n1") -> dict[str, Any]:
    annotations = {names.ANNOTATION_INVENTORY: gpus.dump([Gpu(A, 0, 0, "T", MiB(100))])}
    if cordoned is not None:
        annotations[names.ANNOTATION_CORDONED] = cordoned
    return {"metadata": {"name": name, "annotations": annotations}}


CORDONED = cordons.dump({A: Cordon("fans", "2026-01-01T00:00:00Z")})


def test_cordon() -> None:
    found = cordon.plan(node(), "0", "fans", NOW)
    assert found.text is not None
    assert json.loads(found.text) == {A: {"reason": "fans", "since": NOW}}
    assert found.changes
    assert found.said == f"GPU 0 (GPU-a) of node n1 cordoned since {NOW}: fans"


def test_cordon_again_changes_nothing() -> None:
    found = cordon.plan(node(CORDONED), "GPU-a", "", NOW)
    assert not found.changes
    assert found.said == "GPU 0 (GPU-a) of node n1 cordoned since 2026-01-01T00:00:00Z: fans"


def test_uncordon() -> None:
    assert cordon.plan(node(CORDONED), "0", None, NOW) == cordon.Plan(None, "GPU 0 (GPU-a) of node n1 uncordoned", True)
    found = cordon.plan(node(), "0", None, NOW)
    assert (found.changes, found.said) == (False, "GPU 0 (GPU-a) of node n1 is not cordoned")


def test_what_cannot_be_cordoned() -> None:
    with pytest.raises(errors.Denied, match="GPU = 7: the node has no such GPU"):
        cordon.plan(node(), "7", "", NOW)
    with pytest.raises(errors.Malformed, match="cordoned annotation"):
        cordon.plan(node("?"), "0", "", NOW)
    with pytest.raises(errors.Denied, match="accepted: a GPU of a node whose node agent reports GPUs"):
        cordon.plan({"metadata": {"name": "n1"}}, "0", "", NOW)


@pytest.mark.parametrize("name", ["n1", "n1/", "/0"])
def test_a_gpu_is_named_with_its_node(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["cordon", name, "--kubeconfig", "/nonexistent"]) == failures.REFUSED
    assert f"GPU = {name}: it names no GPU of a node; accepted: NODE/GPU" in capsys.readouterr().err


def test_without_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["uncordon", "n1/0", "--kubeconfig", "/nonexistent"]) == failures.UNREACHABLE
    assert "error: " in capsys.readouterr().err
