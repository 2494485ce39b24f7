"""Changes of a pod's limits: what is refused and why, and what passes."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhook.conftest import ask
from unigpu import allocations, gpus, limits, names, requests
from unigpu.allocations import Allocation, Share
from unigpu.gpus import Gpu
from unigpu.ledger import CapacityLedger
from unigpu.requests import ComputePolicy, PodRequest, Request, Role
from unigpu.units import GpuUuid, MiB, Percent, to_bytes
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


MEM = "aliyun.com/gpu-mem"


@pytest.mark.parametrize(
    ("resources", "limits", "said"),
    [
        ({MEM: 4}, text("1Gi"), ""),
        ({MEM: 4}, "memory=1Gi", ""),
        ({MEM: 4}, "", ""),
        (
            {MEM: 4},
            text("5Gi"),
            "memory = 5120 MiB: exceeds the request, and limits can only be lower until the pod has a GPU",
        ),
        ({MEM: 4}, text(cores=10), "cores = 10 %: exceeds the request"),
        ({MEM: 4, "aliyun.com/gpu-core.percentage": 30}, text(cores=10, ceiling=30), ""),
        ({MEM: 4}, text("x"), "memory = x: not a Kubernetes quantity"),
        ({"nvidia.com/gpu": 1}, text(5), "the container has whole GPUs"),
        ({}, text(5), "the pod has no share of a GPU"),
    ],
)
def test_a_pod_that_brings_limits_along(
    pod: Any, admission: Any, resources: dict[str, Any], limits: str, said: str
) -> None:
    document = pod(resources, annotations={LIMITS: limits})
    if not said:
        assert admission.create(document)["metadata"]["annotations"][LIMITS] == limits
        return
    assert said in admission.mutate(document).reason
    assert said in admission.validate(document).reason


def test_nobody_brings_along_what_is_in_force(pod: Any, admission: Any) -> None:
    verdict = admission.validate(pod({MEM: 4}, annotations={APPLIED: "{}"}))
    assert verdict.outcome == "forged"
    assert verdict.reason == (
        f"pod: annotation {APPLIED} = {{}}: only unigpu's node agent writes it; accepted: no such annotation"
    )


def test_a_manifest_applied_again_keeps_the_limits(pod: Any, admission: Any) -> None:
    manifest = pod({MEM: 4})
    stored = with_limits(admission.create(manifest), text("1Gi"))
    patched = stored | {"spec": manifest["spec"] | {"schedulerName": "default-scheduler"}}
    verdict = admission.mutate(patched, operation="UPDATE", oldObject=stored)
    assert verdict.outcome == "unchanged"
    assert LIMITS not in str(verdict.answer)
    assert admission.validate(stored, operation="UPDATE", oldObject=stored).outcome == "untouched"


def test_a_share_that_is_not_throttled_is_more_than_any_share(pod: Any, admission_with: Any) -> None:
    fields = {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 100, "nvidia.com/gpucores": 5}
    rules = namespaces.apply(Options(), {names.ANNOTATION_MAX_CORES: "10"})
    document = pod(fields, env={"GPU_CORE_UTILIZATION_POLICY": "disable"})
    assert "cores = unlimited" in admission_with(rules).mutate(document).reason
    assert ComputePolicy.UNLIMITED.value not in admission_with(rules).mutate(pod(fields)).reason


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


class Tenant:
    """A pod with half of the GPU, its program, and what the node agent does for it."""

    asked = Request(gpus=1, memory=MiB(8192), cores=Percent(50))
    share = Share(GPUS[0].uuid, MiB(8192), Percent(50))

    def __init__(self, uid: str) -> None:
        self.pod = make_pod({"main": self.asked}, uid=uid)
        self.force = self.share
        """What the program is held to."""
        self.used = 8192

    def changes(self, to: str | None, books: CapacityLedger) -> None:
        if update(self.pod, to, books).outcome == "limited":
            self.pod = with_limits(self.pod, to)

    def uses(self, memory: int) -> None:
        """New memory is granted up to the limit; what is in use beyond it only falls."""
        self.used = min(memory, max(self.used, self.force.memory))

    def is_followed(self) -> None:
        annotations = self.pod["metadata"]["annotations"]
        wanted = limits.from_annotations(annotations, ["main"])
        (self.force,) = limits.shares(self.asked, [self.share], wanted.get("main"))
        held = limits.held_memory([self.force], [to_bytes(MiB(self.used))])
        annotations[APPLIED] = limits.dump_applied(limits.Applied(wanted, {"main": held}))


CHANGES = [{}, *({"memory": memory} for memory in (1024, 12288)), *({"cores": cores} for cores in (10, 90))]


@pytest.mark.parametrize("seed", range(5))
def test_no_row_of_changes_overbooks_a_gpu(seed: int) -> None:
    dice = random.Random(seed)
    tenants = [Tenant("a"), Tenant("b")]
    for _ in range(400):
        tenant = dice.choice(tenants)
        match dice.randrange(3):
            case 0:
                tenant.changes(text(**dice.choice(CHANGES)), node(*(one.pod for one in tenants)))
            case 1:
                tenant.uses(dice.choice((0, 6000, 16384)))
            case _:
                tenant.is_followed()
        assert sum(max(one.force.memory, one.used) for one in tenants) <= 16384
        assert sum(one.force.cores for one in tenants) <= 100
