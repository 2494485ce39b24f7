"""Changes of a pod's limits: what is refused and why, and what passes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhook.conftest import ask
from unigpu import allocations, gpus, lowering, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.ledger import CapacityLedger
from unigpu.lowering import Amounts
from unigpu.requests import PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent
from webhook.admission import review
from webhook.admission.review import Verdict
from webhook.limits import limit_change
from webhook.translation import namespaces
from webhook.translation.options import Options

LIMITS, APPLIED = names.ANNOTATION_LIMITS, names.ANNOTATION_LIMITS_APPLIED
GPUS = tuple(Gpu(GpuUuid(f"GPU-{letter}"), index, index, "X", MiB(16384)) for index, letter in enumerate("ab"))
ASKED = Request(gpus=1, memory=MiB(4096), cores=Percent(30))
Json = dict[str, Any]


def text(memory: int | str | None = None, **more: Any) -> str:
    return json.dumps({"main": ({} if memory is None else {"memory": memory}) | more})


def make_pod(
    wishes: Mapping[str, Request] | None = None,
    *,
    limits: str | None = None,
    applied: str | None = None,
    placed: bool = True,
    phase: str = "Running",
    uid: str = "u",
) -> Json:
    """A pod on GPU a (and b, with two GPUs) of node n."""
    wishes = {"main": ASKED} if wishes is None else wishes
    annotations = {names.ANNOTATION_REQUEST: requests.dump(PodRequest(wishes))} if wishes else {}
    if placed and wishes:
        chosen = {
            name: tuple(Share(gpu.uuid, wish.memory, wish.cores, wish.whole) for gpu in GPUS[: wish.gpus])
            for name, wish in wishes.items()
        }
        annotations[names.ANNOTATION_ALLOCATION] = allocations.dump(Allocation("n", chosen))
    annotations |= {name: text for name, text in ((LIMITS, limits), (APPLIED, applied)) if text is not None}
    metadata = {"name": "p", "namespace": "team", "uid": uid, "annotations": annotations}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": {"phase": phase}}


def with_limits(pod: Json, text: str | None) -> Json:
    annotations = {name: value for name, value in pod["metadata"]["annotations"].items() if name != LIMITS}
    metadata = pod["metadata"] | {"annotations": annotations | ({} if text is None else {LIMITS: text})}
    return pod | {"metadata": metadata}


def node(*others: Json) -> CapacityLedger:
    item = {"metadata": {"name": "n", "annotations": {names.ANNOTATION_INVENTORY: gpus.dump(GPUS)}}}
    return limit_change.build_ledger("n", item, others)


def update(pod: Json, text: str | None, books: CapacityLedger | None = None, options: Options | None = None) -> Verdict:
    asked = ask(with_limits(pod, text), operation="UPDATE", oldObject=pod, userInfo={"username": "ann"})
    return review.review_validation(asked, options or Options(), ("scheduler",), books)


FULL_A = make_pod({"x": Request(gpus=1, memory=MiB(10240), cores=Percent(60))}, uid="other")
"""Leaves 6144 MiB and 40 % of GPU a."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, text("1Gi"), id="memory down"),
        pytest.param(None, text(cores=10), id="share down"),
        pytest.param(None, text(policy="soft", ceiling=80), id="a ceiling takes nothing"),
        pytest.param(None, text(policy="unlimited"), id="not throttled"),
        pytest.param(None, "memory=1Gi,cores=10,ceiling=80,policy=soft", id="plain form"),
        pytest.param(text(8192, cores=50), None, id="a raise taken back"),
        pytest.param(text("1Gi"), text("3Gi"), id="up again before the lowering was in force"),
        pytest.param("not understood", text("1Gi"), id="after what never was in force"),
        pytest.param(text("1Gi"), '{"main": {"memory": 1024}}', id="written otherwise"),
    ],
)
def test_what_takes_no_more_passes_without_a_look_at_the_node(before: str | None, after: str | None) -> None:
    verdict = update(make_pod(limits=before), after)
    assert (verdict.outcome, verdict.needs_node) == ("limited", "")
    assert verdict.reason == f"{before or 'as requested'} → {after or 'as requested'}"


def test_a_raise_asks_for_the_node_and_is_refused_until_it_was_looked_at() -> None:
    verdict = update(make_pod(), text(6144))
    assert verdict.needs_node == "n"
    status = verdict.answer["response"]["status"]
    assert (verdict.outcome, status["code"], status["reason"]) == ("refused", 503, "ServiceUnavailable")
    assert "node n wasn't read" in status["message"]
    allowed = update(make_pod(), text(6144), node(FULL_A))
    assert (allowed.outcome, allowed.needs_node) == ("limited", "")
    assert allowed.accepted is not None
    assert {gpu: use.memory for gpu, use in allowed.accepted.booking.uses.items()} == {"GPU-a": 6144}


@pytest.mark.parametrize(
    ("shown", "taken"),
    [
        pytest.param(make_pod(), 6144, id="not shown yet"),
        pytest.param(make_pod(limits=text(6144)), 6144, id="shown"),
        pytest.param(make_pod(limits=text(1), applied='{"main":{"memory":1}}'), 6144, id="something else is shown"),
        pytest.param(make_pod(uid="another"), 4096, id="the pod is gone"),
    ],
)
def test_a_raise_counts_before_it_is_shown(shown: Json, taken: int) -> None:
    accepted = update(make_pod(), text(6144), node()).accepted
    assert accepted is not None
    books = node(shown)
    limit_change.add_accepted(books, "n", [shown], [accepted])
    seen = books.node("n")
    assert seen is not None
    assert seen.gpus[0].taken.memory == taken


def test_a_change_that_is_shown_counts_as_the_pod_says() -> None:
    accepted = update(make_pod(), text(1)).accepted
    assert accepted is not None
    shown = make_pod(limits=text(1), applied='{"main":{"memory":1}}')
    books = node(shown)
    limit_change.add_accepted(books, "n", [shown], [accepted])
    assert books.overbooked() == []
    seen = books.node("n")
    assert seen is not None
    assert seen.gpus[0].taken.memory == 1


def test_a_raise_beyond_what_is_free_names_gpu_free_and_asked() -> None:
    verdict = update(make_pod(), text("8Gi", cores=50), node(FULL_A))
    assert (verdict.outcome, verdict.answer["response"]["status"]["code"]) == ("refused", 422)
    assert verdict.reason == (
        "2 problems:\n"
        "  container main: memory = 8192 MiB: GPU 0 (GPU-a) of node n has 6144 MiB free for this container "
        "(others have 10240 of 16384 MiB); accepted: up to 6144 MiB\n"
        "  container main: cores = 50 %: GPU 0 (GPU-a) of node n has 40 % of its compute time free for this container "
        "(others have 60 of 100 %); accepted: up to 40 %"
    )


def test_the_tightest_of_several_gpus_is_named() -> None:
    pod = make_pod({"main": Request(gpus=2, memory=MiB(4096))})
    verdict = update(pod, text("12Gi"), node(pod, FULL_A))
    assert "GPU 0 (GPU-a) of node n has 6144 MiB free" in verdict.reason
    assert "GPU-b" not in verdict.reason
    assert update(pod, text(6144), node(pod, FULL_A)).outcome == "limited"


def test_removing_limits_is_a_raise_where_others_have_the_room() -> None:
    pod = make_pod(limits=text("1Gi"), applied='{"main":{"memory":1024}}')
    full = make_pod({"x": Request(gpus=1, memory=MiB(15360))}, uid="other")
    refused = update(pod, None, node(pod, full))
    assert "memory = 4096 MiB: GPU 0 (GPU-a) of node n has 1024 MiB free for this container" in refused.reason
    assert update(pod, None, node(pod)).outcome == "limited"


def test_what_others_may_come_to_take_counts() -> None:
    raised = make_pod({"x": Request(gpus=1, memory=MiB(1024))}, limits="memory=12Gi", uid="other")
    assert "has 4096 MiB free" in update(make_pod(), text(4097), node(raised)).reason
    lowered = make_pod({"x": Request(gpus=1, memory=MiB(12288))}, limits="memory=1Gi", uid="other")
    assert "has 4096 MiB free" in update(make_pod(), text(4097), node(lowered)).reason


def test_a_pods_own_containers_share_its_room() -> None:
    wishes = {"main": ASKED, "side": Request(gpus=1, memory=MiB(2048)), "early": Request(1, MiB(9), role=Role.INIT)}
    pod = make_pod(wishes)
    assert "has 14336 MiB free for this container" in update(pod, text(14337), node(pod)).reason
    assert update(pod, text(14336), node(pod)).outcome == "limited"
    assert update(pod, '{"early": {"memory": "16Gi"}}', node(pod)).outcome == "limited", "it runs before the others"
    both = update(pod, '{"main": {"memory": "10Gi"}, "side": {"memory": "10Gi"}}', node(pod))
    assert both.reason.count("has 6144 MiB free for this container") == 2


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (
            text("lots"),
            "container main: memory = lots: not a Kubernetes quantity; accepted: MiB on each",
        ),
        (text(5, cores=0, policy="x"), "2 problems:"),
        ('{"other": {"cores": 5}}', "no container with a share of a GPU has that name; accepted: main"),
        (text(ceiling=20), "container main: ceiling = 20: below the container's share of 30 %; accepted: 30 to 100"),
        (text(policy="hard", ceiling=80), "with policy hard, the ceiling is the share, 30 %"),
        ("1Gi", "1Gi is not KEY=VALUE"),
    ],
)
def test_what_is_malformed_or_contradicts_itself(after: str, said: str) -> None:
    verdict = update(make_pod(), after, node())
    assert (verdict.outcome, verdict.answer["response"]["status"]["code"]) == ("refused", 422)
    assert said in verdict.reason


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Request(gpus=1, whole=True), "the container has whole GPUs, so it has no limits to change"),
        (
            Request(gpus=1, memory=MiB(5), isolated=False),
            "isolation is switched off for the container, so it has no limits",
        ),
    ],
)
def test_what_is_not_limited_can_not_be(asked: Request, said: str) -> None:
    assert said in update(make_pod({"main": asked}), text(1), node()).reason
    assert update(make_pod({"main": asked}, limits=text(1)), None).outcome == "limited"


@pytest.mark.parametrize(
    ("largest", "before", "after", "said"),
    [
        ({"memory": "5Gi"}, None, text("6Gi"), "memory = 6144 MiB: exceeds this namespace's maximum"),
        ({"memory": "5Gi"}, None, text("5Gi"), ""),
        ({"memory": "2Gi"}, None, text("3Gi"), ""),
        ({"memory": "2Gi"}, text("1Gi"), text("3Gi"), "memory = 3072 MiB: exceeds this namespace's maximum"),
        ({"cores": "40"}, None, text(cores=50), "cores = 50 %: exceeds this namespace's maximum"),
        ({"cores": "40"}, None, text(policy="unlimited"), "cores = unlimited: exceeds"),
        ({"cores": "20"}, None, text(cores=25), ""),
        ({"cores": "40"}, None, text(ceiling=100), ""),
    ],
)
def test_what_the_namespace_may_use(largest: dict[str, str], before: str | None, after: str, said: str) -> None:
    annotations = {f"{names.DOMAIN}/max-{name}": value for name, value in largest.items()}
    verdict = update(make_pod(limits=before), after, node(), namespaces.apply(Options(), annotations))
    assert (said in verdict.reason) if said else verdict.outcome == "limited", verdict.reason


@pytest.mark.parametrize("had", [None, text("6Gi", cores=50)])
def test_lowered_limits_are_given_back_although_the_maximum_is_less_by_now(had: str | None) -> None:
    """As a pod whose limits weren't lowered keeps what it has. Nobody else may raise them again, and by no more."""
    maximum = {names.ANNOTATION_MAX_MEMORY: "2Gi", names.ANNOTATION_MAX_CORES: "20"}
    options, books = namespaces.apply(Options(), maximum), node()
    pod = make_pod(limits=had)
    to = {"main": Amounts(MiB(1024), Percent(5))}
    lower = lowering.lower(pod["metadata"]["annotations"], {"main": ASKED}, to, "team/urgent", 1)
    assert lower is not None
    pod["metadata"]["annotations"] |= lower | {APPLIED: lower[LIMITS]}

    def change(user: str, wanted: str | None, *, ends: bool = True, books: CapacityLedger = books) -> Verdict:
        new = with_limits(pod, wanted)
        if ends:
            del new["metadata"]["annotations"][names.ANNOTATION_LOWERED]
        asked = ask(new, operation="UPDATE", oldObject=pod, userInfo={"username": user})
        return review.review_validation(asked, options, ("scheduler", "agent"), books)

    assert change("agent", had).outcome == "limited"
    assert change("agent", text("3Gi")).outcome == "refused", "not what was lowered"
    assert change("agent", had, ends=False).outcome == "refused", "not an end of it"
    assert change("ann", had).outcome == "forged"
    assert "exceeds this namespace's maximum" in change("ann", had, ends=False).reason
    full = make_pod({"x": Request(gpus=1, memory=MiB(16384 - 1024))}, uid="other")
    assert "free for this container" in change("agent", had, books=node(full)).reason, "the GPU needs room as before"
    pod["metadata"]["annotations"][LIMITS] = text("2Gi")
    assert change("agent", had).outcome == "refused", "somebody has changed the limits since"


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (text("1Gi", cores=10), ""),
        (text(policy="hard"), ""),
        (text("5Gi"), "memory = 5120 MiB: exceeds the request"),
        (text(cores=31), "cores = 31 %: exceeds the request"),
        (text(ceiling=80), "ceiling = 80 %: exceeds the request"),
        (text(policy="unlimited"), "accepted: a ceiling of up to 30 %"),
    ],
)
def test_a_pod_without_a_gpu_yet(after: str, said: str) -> None:
    verdict = update(make_pod(placed=False), after)
    assert (said in verdict.reason) if said else verdict.outcome == "limited", verdict.reason


def test_memory_by_the_gpu_can_not_be_limited_before_the_gpu_is_known() -> None:
    pod = make_pod({"main": Request(gpus=1, memory_percent=Percent(50))}, placed=False)
    assert "accepted: no such limit until the pod is placed" in update(pod, text(1)).reason


def test_a_pod_that_has_ended_is_left_alone() -> None:
    verdict = update(make_pod(phase="Succeeded"), text("64Gi"))
    assert verdict.outcome == "limited"
    assert verdict.answer["response"]["warnings"] == [
        'pod: annotation unigpu.dev/limits = {"main": {"memory": "64Gi"}}: has no effect, because the pod has ended'
    ]
    assert update(make_pod(phase="Succeeded"), text("x")).outcome == "refused"


def test_a_pod_without_a_gpu() -> None:
    assert "the pod has no share of a GPU; accepted: no such annotation" in update(make_pod({}), text(5)).reason
    assert update(make_pod({}, limits=text(5)), None).outcome == "limited"


def test_a_gpu_that_is_gone_and_a_node_that_is_not_known() -> None:
    gone = Gpu(GpuUuid("GPU-z"), 0, 0, "X", MiB(16384))
    item = {"metadata": {"name": "n", "annotations": {names.ANNOTATION_INVENTORY: gpus.dump([gone])}}}
    verdict = update(make_pod(), text("5Gi"), limit_change.build_ledger("n", item, []))
    assert "node n no longer reports GPU GPU-a; accepted: up to 4096 MiB" in verdict.reason
    for unknown in (
        None,
        {"metadata": {"name": "n"}},
        {"metadata": {"annotations": {names.ANNOTATION_INVENTORY: "{"}}},
    ):
        verdict = update(make_pod(), text("5Gi"), limit_change.build_ledger("n", unknown, [FULL_A]))
        assert "the GPUs of node n aren't known" in verdict.reason


def test_only_the_platform_says_what_is_in_force() -> None:
    pod = make_pod()
    metadata = pod["metadata"] | {"annotations": pod["metadata"]["annotations"] | {APPLIED: "{}"}}
    for user, outcome in (("ann", "forged"), ("scheduler", "untouched")):
        asked = ask(pod | {"metadata": metadata}, operation="UPDATE", oldObject=pod, userInfo={"username": user})
        assert review.review_validation(asked, Options(), ("scheduler",)).outcome == outcome


def test_limits_that_the_node_agent_sets_are_checked_as_everybodys() -> None:
    """It sets them for programs of the container, which have no account."""

    def agents(text: str, books: CapacityLedger | None = None) -> Verdict:
        pod = make_pod()
        user = {"username": "agent"}
        asked = ask(with_limits(pod, text), operation="UPDATE", subResource="status", oldObject=pod, userInfo=user)
        return review.review_validation(asked, Options(), ("agent",), books)

    assert agents(text("1Gi")).outcome == "limited"
    assert agents(text("9Gi")).needs_node == "n"
    assert agents(text("9Gi"), node(FULL_A)).outcome == "refused"
    assert "has 6144 MiB free" in agents(text("9Gi"), node(FULL_A)).reason
    assert agents(text("nonsense")).outcome == "refused"


PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "live-limits.md").read_text()


@pytest.mark.parametrize("after", [text(cores=0), '{"x": {"cores": 5}}', text(ceiling=20), text("6Gi"), text("9Gi")])
def test_the_reference_shows_what_is_said(after: str) -> None:
    rules = namespaces.apply(Options(), {names.ANNOTATION_MAX_MEMORY: "5Gi"} if after == text("6Gi") else {})
    other = make_pod({"x": Request(gpus=1, memory=MiB(8192))}, uid="other")
    assert f"`{update(make_pod(), after, node(other), rules).reason}`" in PAGE


@given(hostile=st.text() | st.dictionaries(st.text(), st.text() | st.integers() | st.none()).map(json.dumps))
def test_whatever_is_written_is_answered(hostile: str) -> None:
    verdict = update(make_pod(), hostile, node())
    assert verdict.outcome in ("limited", "refused")
    json.dumps(verdict.answer)
