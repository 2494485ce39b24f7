"""Generated pods and reviews: what holds for every one of them."""

import copy
import json
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jsonpatch
from hypothesis import given, settings
from hypothesis import strategies as st

from unigpu import errors, names, quantities, requests
from webhook.admission import admission_review, review
from webhook.admission.review import Verdict
from webhook.translation import decision, dialects
from webhook.translation.options import AliyunUnit, BareGpu, Options

EXAMPLES = int(os.environ.get("UNIGPU_EXAMPLES", "120"))
"""Enough to find what is often wrong; `make soak` tries many more."""
VENDORS = sorted({name for dialect in dialects.ALL for name in dialect.resources})
AMOUNTS = st.one_of(
    st.integers(0, 120),
    st.sampled_from(["0", "1", "2", "3k", "2Gi", "100", "200", "1e2", "1.5", "-1", "", "x", "16276", "9" * 25, "4Ei"]),
)
LIMITS = st.dictionaries(st.sampled_from([*VENDORS, "cpu", "memory", "example.com/thing"]), AMOUNTS, max_size=4)
NAMES = st.sampled_from(["a", "b", "c", "d"])
SWITCHES = st.sampled_from(
    ["CGPU_DISABLE", "CUDA_DISABLE_CONTROL", "GPU_CORE_UTILIZATION_POLICY", "LD_PRELOAD", "CUDA_DEVICE_MEMORY_LIMIT"]
)
ENV = st.lists(
    st.fixed_dictionaries(
        {"name": SWITCHES}, optional={"value": st.sampled_from(["true", "false", "1", "disable", "", "?"])}
    ),
    max_size=3,
)
RESOURCES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    LIMITS.map(lambda limits: {"limits": limits}),
    LIMITS.map(lambda limits: {"limits": limits, "requests": dict(limits)}),
    st.fixed_dictionaries({"limits": LIMITS, "requests": LIMITS}),
    st.builds(dict),
)
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES},
    optional={"resources": RESOURCES, "env": ENV, "restartPolicy": st.just("Always"), "image": st.just("x")},
)
CONTAINERS = st.lists(CONTAINER, max_size=3, unique_by=lambda container: str(container["name"]))
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [
            "tencent.com/vcuda-core-limit",
            "gpu-fraction",
            "gpu-memory",
            "gpu-fraction-num-devices",
            "gpu-fraction-container-name",
            "hami.io/gpu-scheduler-policy",
            "nvidia.com/use-gputype",
            "mine",
        ]
    ),
    st.sampled_from(["0.5", "0.333", "50", "2", "a", "spread", "A100,H100", ""]),
    max_size=3,
)
LABELS = st.dictionaries(
    st.sampled_from(
        ["aliyun.com/gpu-count", "ack.gpushare.placement", "hami.io/webhook", "kai.scheduler/queue", "app"]
    ),
    st.sampled_from(["1", "2", "4", "require-whole-device", "ignore", "x"]),
    max_size=2,
)
PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("p")}, optional={"annotations": ANNOTATIONS, "labels": LABELS}
        ),
        "spec": st.fixed_dictionaries(
            {"containers": CONTAINERS},
            optional={
                "initContainers": CONTAINERS,
                "schedulerName": st.sampled_from(["default-scheduler", "volcano", "other", "unigpu-scheduler"]),
                "nodeSelector": st.builds(dict, x=st.just("y")),
            },
        ),
    }
)
OPTIONS = st.builds(
    Options, aliyun_unit=st.sampled_from(AliyunUnit), bare_gpu=st.sampled_from(BareGpu), opting_out=st.booleans()
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=10,
)


def ask(pod: Any, operation: str = "CREATE", old: Any = None) -> bytes:
    request = {"uid": "u", "kind": {"kind": "Pod"}, "operation": operation, "object": pod, "oldObject": old or pod}
    return json.dumps(
        {"apiVersion": admission_review.API_VERSION, "kind": admission_review.KIND, "request": request}
    ).encode()


def mutate(pod: Any, options: Options) -> Verdict:
    return review.review_mutation(admission_review.read(ask(pod)), options)


def patched(pod: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    import base64

    operations = json.loads(base64.b64decode(verdict.answer["response"].get("patch", "W10=")))
    result: dict[str, Any] = jsonpatch.apply_patch(pod, operations)
    return result


def canonical(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod as an API server stores it: requests as limits, thousands with their suffix."""
    stored = copy.deepcopy(pod)
    for container in containers(stored):
        resources = container.get("resources") or {}
        for kind in ("limits", "requests"):
            for name, amount in resources.get(kind, {}).items():
                resources[kind][name] = shortened(str(amount))
    return stored


def shortened(text: str) -> str:
    try:
        number, binary = quantities.parse(text)
    except ValueError:
        return text
    if binary or number.denominator != 1 or number == 0:
        return text
    for power, suffix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number % Fraction(10) ** power == 0:
            return f"{number // 10**power}{suffix}"
    return str(number)


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for place in ("initContainers", "containers") for container in pod["spec"].get(place, [])]


def foreign(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod without what any dialect or unigpu has in it, and without what the scheduler chooses."""
    rest = copy.deepcopy(pod)
    rest["spec"].pop("schedulerName", None)
    rest["spec"].pop("nodeName", None)
    annotations = rest["metadata"].setdefault("annotations", {})
    for name in decision.REVIEWED:
        annotations.pop(name, None)
    for container in containers(rest):
        resources = container.setdefault("resources", {})
        for kind in ("limits", "requests"):
            amounts = resources.setdefault(kind, {})
            for name in VENDORS:
                amounts.pop(name, None)
    return rest


@settings(max_examples=EXAMPLES, deadline=None)
@given(pod=PODS, options=OPTIONS)
def test_every_pod_is_translated_refused_or_left_alone(pod: dict[str, Any], options: Options) -> None:
    before = copy.deepcopy(pod)
    verdict = mutate(pod, options)
    assert pod == before
    response = verdict.answer["response"]
    if verdict.outcome == "refused":
        assert not response["allowed"] and response["status"]["message"]
        return
    assert response["allowed"]
    after = patched(pod, verdict)
    assert foreign(after) == foreign(pod)
    if verdict.outcome == "untouched":
        assert after == pod
        return
    assert verdict.outcome == "translated"
    request = requests.load(after["metadata"]["annotations"][names.ANNOTATION_REQUEST])
    for container in containers(after):
        wish = request.containers.get(container["name"])
        limits = {name: str(amount) for name, amount in container.get("resources", {}).get("limits", {}).items()}
        if wish is not None:
            assert limits[names.RESOURCE_VGPU] == str(wish.gpus)
            assert limits.get(names.RESOURCE_MEMORY, "0") == str(wish.total_memory)
            assert limits.get(names.RESOURCE_CORES, "0") == str(wish.total_cores)
            assert wish.isolated or options.opting_out


@settings(max_examples=EXAMPLES, deadline=None)
@given(pod=PODS, options=OPTIONS)
def test_a_copy_without_annotations_has_no_more_than_its_original(pod: dict[str, Any], options: Options) -> None:
    """As `kubectl debug --copy-to` makes it: without labels either."""
    verdict = mutate(pod, options)
    if verdict.outcome != "translated":
        return
    stored = canonical(patched(pod, verdict))
    copied = {"metadata": {"name": "copy"}, "spec": stored["spec"]}
    again = mutate(copied, options)
    assert again.outcome in ("translated", "refused")
    if again.outcome == "refused":
        assert f"{names.RESOURCE_MEMORY} = 0" in again.reason
        return
    both = (
        requests.load(item["metadata"]["annotations"][names.ANNOTATION_REQUEST]).containers
        for item in (stored, patched(copied, again))
    )
    original, became = both
    assert became.keys() == original.keys()
    for name, wish in became.items():
        was = original[name]
        everything = was.whole or (was.memory_percent == 100 and was.cores == 100)
        assert not wish.whole or everything
        amounts = [(of.gpus, of.memory, of.total_cores) for of in (wish, was)]
        assert amounts[0] == amounts[1] and wish.memory_percent in (0, was.memory_percent)
        assert wish.isolated == was.isolated and wish.ceiling <= was.ceiling


BROUGHT = st.dictionaries(
    st.sampled_from(decision.REVIEWED),
    st.one_of(st.text(max_size=5), st.sampled_from(["{}", "memory=9Gi", '{"node":"n","containers":{}}'])),
)
"""Our annotations, as an author may write them."""


@settings(max_examples=EXAMPLES, deadline=None)
@given(pod=PODS, options=OPTIONS, brought=BROUGHT, keep=st.booleans(), node=st.booleans())
def test_no_pod_is_stored_with_an_allocation(
    pod: dict[str, Any], options: Options, brought: dict[str, str], keep: bool, node: bool
) -> None:
    """Whatever annotations it brings along, also over its own translation (`keep`), and whatever node."""
    first = mutate(pod, options)
    if keep and first.outcome == "translated":
        pod = patched(pod, first)
    pod["metadata"]["annotations"] = brought | (pod["metadata"].get("annotations") or {})
    if node:
        pod["spec"]["nodeName"] = "n"
    verdict = mutate(pod, options)
    if not verdict.answer["response"]["allowed"]:
        assert "patch" not in verdict.answer["response"]
        return
    stored = canonical(patched(pod, verdict))
    assert decision.PLATFORM_ONLY.keys().isdisjoint(stored["metadata"]["annotations"])
    assert foreign(stored) == foreign(canonical(pod))
    asks = names.ANNOTATION_REQUEST in stored["metadata"]["annotations"]
    assert not (asks and stored["spec"].get("nodeName"))
    validated = review.review_validation(admission_review.read(ask(stored)), options, ())
    assert validated.answer["response"]["allowed"], validated.reason
    bypassed = review.review_validation(admission_review.read(ask(pod)), options, ())
    assert decision.PLATFORM_ONLY.keys().isdisjoint(brought) or bypassed.outcome == "forged"


@settings(max_examples=EXAMPLES, deadline=None)
@given(pod=PODS, options=OPTIONS)
def test_a_second_pass_changes_nothing_and_validation_agrees(pod: dict[str, Any], options: Options) -> None:
    verdict = mutate(pod, options)
    if verdict.outcome != "translated":
        return
    stored = canonical(patched(pod, verdict))
    again = mutate(stored, options)
    assert (again.outcome, again.reason) == ("unchanged", "")
    assert "patch" not in again.answer["response"]
    validated = review.review_validation(admission_review.read(ask(stored)), options, ())
    assert (validated.outcome, validated.reason) == ("unchanged", "")


@settings(max_examples=EXAMPLES, deadline=None)
@given(pod=PODS)
def test_what_the_api_server_rewrites_means_the_same(pod: dict[str, Any]) -> None:
    plain, stored = mutate(pod, Options()), mutate(canonical(pod), Options())
    assert plain.outcome == stored.outcome
    if plain.outcome == "translated":
        both = [patched(item, verdict) for item, verdict in ((pod, plain), (canonical(pod), stored))]
        one, other = (item["metadata"]["annotations"][names.ANNOTATION_REQUEST] for item in both)
        assert one == other


@settings(max_examples=EXAMPLES, deadline=None)
@given(body=st.binary(max_size=200))
def test_bytes_are_answered_or_malformed(body: bytes) -> None:
    decisions: tuple[Callable[[Any], review.Verdict], ...] = (
        lambda asked: review.review_mutation(asked, Options()),
        lambda asked: review.review_validation(asked, Options(), ()),
    )
    for decide in decisions:
        try:
            json.dumps(decide(admission_review.read(body)).answer)
        except errors.Malformed as error:
            assert str(error)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    pod=PODS, where=st.lists(st.integers(0, 3), max_size=5), what=JSON, operation=st.sampled_from(["CREATE", "UPDATE"])
)
def test_pods_with_anything_anywhere_are_answered_or_malformed(
    pod: dict[str, Any], where: list[int], what: Any, operation: str
) -> None:
    """Follow the path of positions into the pod, and put something else there."""
    node: Any = pod
    for step in where:
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            break
        key = keys[step % len(keys)]
        if not isinstance(node[key], dict | list) or not node[key]:
            node[key] = what
            break
        node = node[key]
    else:
        if isinstance(node, dict):
            node["extra"] = what
    try:
        asked = admission_review.read(ask(pod, operation))
        json.dumps(review.review_mutation(asked, Options()).answer)
        json.dumps(review.review_validation(asked, Options(), ()).answer)
    except errors.Malformed as error:
        assert str(error)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    pod=PODS,
    field=st.sampled_from(["memory", "gpus", "cores", "ceiling", "priority", "memory_percent"]),
    number=st.integers(0, 500),
)
def test_no_other_number_passes_as_ours(pod: dict[str, Any], field: str, number: int) -> None:
    verdict = mutate(pod, Options())
    if verdict.outcome != "translated":
        return
    created = patched(pod, verdict)
    document = json.loads(created["metadata"]["annotations"][names.ANNOTATION_REQUEST])
    name, wish = sorted(document["containers"].items())[0]
    forged = {**wish, field: number}
    document["containers"][name] = forged
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    created["metadata"]["annotations"][names.ANNOTATION_REQUEST] = text
    again = mutate(created, Options())
    if again.outcome == "unchanged":
        allowed = requests.load(text).containers[name]
        original = requests.load(json.dumps({"version": 1, "containers": {name: wish}})).containers[name]
        assert (allowed.gpus, allowed.total_memory, allowed.total_cores) == (
            original.gpus,
            original.total_memory,
            original.total_cores,
        )


@settings(max_examples=EXAMPLES, deadline=None)
@given(old=PODS, new=PODS, options=OPTIONS, wish=JSON)
def test_updates_of_pods_with_anything_in_our_annotation(
    old: dict[str, Any], new: dict[str, Any], options: Options, wish: Any
) -> None:
    verdict = mutate(old, options)
    if verdict.outcome == "translated":
        old = patched(old, verdict)
        again = review.review_mutation(admission_review.read(ask(new, "UPDATE", old)), options)
        assert again.outcome in ("untouched", "unchanged", "refused")
        if again.outcome == "unchanged":
            assert foreign(patched(new, again)) == foreign(new)
    text = json.dumps({"version": 1, "containers": {"a": wish, "b": {"gpus": 1, "dialect": "?"}}})
    old["metadata"]["annotations"] = {names.ANNOTATION_REQUEST: text}
    json.dumps(review.review_mutation(admission_review.read(ask(new, "UPDATE", old)), options).answer)
