"""`kubectl unigpu limit`: what is written, and what is said of it."""

from typing import Any

import pytest

from cli import __main__ as command
from cli import limit
from cli.limit import LimitChange
from unigpu import errors, names, requests
from unigpu.limits import Applied
from unigpu.requests import ComputePolicy, PodRequest, Request
from unigpu.units import GpuUuid, MiB, Percent

ASKED = Request(gpus=1, memory=MiB(4096), cores=Percent(30))
TWO = {"main": ASKED, "side": Request(gpus=1, memory=MiB(1024), policy=ComputePolicy.UNLIMITED)}


def annotations(asked: dict[str, Request] | None = None, limits: str | None = None) -> dict[str, str]:
    said = {names.ANNOTATION_REQUEST: requests.dump(PodRequest(asked or {"main": ASKED}))}
    return said | ({} if limits is None else {names.ANNOTATION_LIMITS: limits})


OLD = '{"main":{"cores":10,"memory":1024}}'


@pytest.mark.parametrize(
    ("before", "change", "text", "changes"),
    [
        pytest.param(
            None,
            LimitChange(fields={"memory": "1Gi", "cores": "10", "ceiling": "80", "policy": "soft"}),
            '{"main":{"ceiling":80,"cores":10,"memory":1024,"policy":"soft"}}',
            ["main: 4096 MiB, 30 % (hard) → 1024 MiB, 10 % up to 80 % (soft)"],
            id="everything",
        ),
        pytest.param(
            OLD,
            LimitChange(fields={"memory": "2048"}),
            '{"main":{"cores":10,"memory":2048}}',
            ["main: 1024 MiB, 10 % (hard) → 2048 MiB, 10 % (hard)"],
            id="added to what is there",
        ),
        pytest.param(
            OLD,
            LimitChange(fields={"policy": "unlimited"}, reset=True),
            '{"main":{"policy":"unlimited"}}',
            ["main: 1024 MiB, 10 % (hard) → 4096 MiB, 30 % guaranteed, compute without limit"],
            id="instead of what is there",
        ),
        pytest.param(
            OLD,
            LimitChange(reset=True),
            None,
            ["main: 1024 MiB, 10 % (hard) → 4096 MiB, 30 % (hard)"],
            id="as requested",
        ),
        pytest.param(OLD, LimitChange(fields={"memory": "1Gi"}), OLD, [], id="as it is"),
        pytest.param(None, LimitChange(reset=True), None, [], id="nothing to reset"),
        pytest.param(
            "nonsense",
            LimitChange(reset=True),
            None,
            ["annotation unigpu.dev/limits could not be read and is replaced"],
            id="nonsense",
        ),
    ],
)
def test_what_is_written(before: str | None, change: LimitChange, text: str | None, changes: list[str]) -> None:
    plan = limit.plan(annotations(limits=before), change)
    assert (plan.text, list(plan.changes)) == (text, changes)


def test_one_of_several_containers() -> None:
    both = '{"main":{"memory":1024},"side":{"memory":512}}'
    plan = limit.plan(annotations(TWO, both), LimitChange("side", {"cores": "5"}))
    assert plan.text == '{"main":{"memory":1024},"side":{"cores":5,"memory":512}}'
    assert plan.changes == ("side: 512 MiB, compute without limit → 512 MiB, 5 % (hard)",)
    assert limit.plan(annotations(TWO, both), LimitChange("side", reset=True)).text == '{"main":{"memory":1024}}'
    assert limit.plan(annotations(TWO, both), LimitChange(reset=True)).text is None


@pytest.mark.parametrize(
    ("said", "change", "text"),
    [
        (
            annotations(TWO),
            LimitChange(fields={"memory": "5"}),
            "container is missing: the pod has several with a GPU; accepted: -c with one of main, side",
        ),
        (
            annotations(TWO),
            LimitChange("x", {"memory": "5"}),
            "container = x: it has no share of a GPU; accepted: main, side",
        ),
        ({}, LimitChange(fields={"memory": "5"}), "the pod has no share of a GPU"),
        (
            annotations(),
            LimitChange(fields={"memory": "lots"}),
            "container main: memory = lots: not a Kubernetes",
        ),
        (annotations(), LimitChange(fields={"cores": "0", "policy": "x"}), "2 problems:"),
    ],
)
def test_what_can_not_be_written(said: dict[str, str], change: LimitChange, text: str) -> None:
    with pytest.raises(errors.UnigpuError) as caught:
        limit.plan(said, change)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Request(gpus=1, whole=True), "whole GPUs"),
        (Request(gpus=1, memory=MiB(5), isolated=False), "not isolated"),
        (Request(gpus=1, memory_percent=Percent(40), cores=Percent(5)), "40 % of the memory, 5 % (hard)"),
        (Request(gpus=1, cores=Percent(5)), "memory without limit, 5 % (hard)"),
    ],
)
def test_limits_in_words(asked: Request, words: str) -> None:
    assert limit.held_to(asked) == words


@pytest.mark.parametrize(
    ("wanted", "applied", "in_force"),
    [
        (None, None, True),
        (OLD, None, False),
        ("memory=1Gi,cores=10", OLD, True),
        (OLD, '{"main":{"cores":10,"memory":1024,"held":{"GPU-a":3000}}}', True),
        (None, OLD, False),
        (OLD, "{}", False),
    ],
)
def test_whether_limits_are_in_force(wanted: str | None, applied: str | None, in_force: bool) -> None:
    said = annotations(limits=wanted) | ({} if applied is None else {names.ANNOTATION_LIMITS_APPLIED: applied})
    assert (limit.applied(said) is not None) is in_force


def test_what_is_held_beyond() -> None:
    (line,) = limit.beyond(Applied({}, {"main": {GpuUuid("GPU-a"): MiB(3000)}}))
    assert line == "main: has 3000 MiB of GPU-a in use, more than its limit: it can't allocate more until it frees some"


def test_what_is_shown() -> None:
    assert limit.shown(annotations()) == ["main: 4096 MiB, 30 % (hard)"]
    line = "main: 1024 MiB, 10 % (hard), requested: 4096 MiB, 30 % (hard)"
    assert limit.shown(annotations(limits=OLD)) == [line, "not in force yet"]
    said = annotations(limits=OLD) | {names.ANNOTATION_LIMITS_APPLIED: OLD}
    assert limit.shown(said) == [line]


def test_the_command_without_a_change_or_a_cluster(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        command.main(["limit"])
    assert "no pod is named; accepted: POD, pod/NAME, deploy/NAME" in capsys.readouterr().err
    assert command.main(["limit", "p", "--reset", "--kubeconfig", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "no cluster to ask" in said and "--kubeconfig" in said
    assert not caplog.records, "one sentence is enough"
