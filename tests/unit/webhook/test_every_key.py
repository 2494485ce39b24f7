"""Every key of every vendor, alone and misspelt by one letter, on each level: none is dropped in silence."""

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.webhook.conftest import make_pod
from unigpu import names
from webhook.admission import cluster_cache
from webhook.admission.cluster_cache import ClusterCache
from webhook.translation import dialects, near_misses, pod_reading, pods, translate, unsupported
from webhook.translation.options import Options

LETTERS = "abcdefghijklmnopqrstuvwxyz"
RESOURCES = tuple(sorted(dialects.OF_RESOURCE))
ANNOTATIONS = tuple(sorted({*unsupported.ANNOTATIONS, *unsupported.WITHOUT_EFFECT, names.ANNOTATION_LIMITS}))
LABELS = tuple(sorted(unsupported.LABELS))
BASE = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3000"}


def misspelt(key: str) -> Iterator[str]:
    """Every missing letter, and every exchange with the next; another letter, and one more, at every place."""
    random.seed(key)
    for at, letter in enumerate(key):
        other = random.choice(LETTERS.replace(letter, ""))
        yield key[:at] + key[at + 1 :]
        yield key[:at] + other + key[at + 1 :]
        yield key[:at] + other + key[at:]
        if key[at + 1 : at + 2] not in ("", letter):
            yield key[:at] + key[at + 1] + letter + key[at + 2 :]
    yield key + random.choice(LETTERS)


def read(document: dict[str, Any], options: Options | None = None) -> translate.Translation:
    return translate.translate(pod_reading.read(pods.read(document), options or Options()))


def noted(limits: dict[str, str], level: str, notes: dict[str, str]) -> dict[str, Any]:
    """A pod with these annotations or labels."""
    if level == "label":
        return make_pod(limits, labels=notes)
    return make_pod(limits, annotations=notes)


def heard(found: translate.Translation, without: translate.Translation, key: str) -> bool:
    """Whether anything follows from the key: a request, a refusal, or a warning that names it."""
    said = " ".join([*map(str, found.problems), *found.warnings])
    return found.request != without.request or key in said


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_resource_is_heard(resource: str) -> None:
    for value in ("1", "50", "100"):
        assert heard(read(make_pod({resource: value})), read(make_pod({})), resource), value
    for wrong in misspelt(resource):
        if wrong not in dialects.OF_RESOURCE:
            assert heard(read(make_pod({wrong: "1"})), read(make_pod({})), wrong), wrong
            assert heard(read(make_pod({**BASE, wrong: "1"})), read(make_pod(BASE)), wrong), wrong


@pytest.mark.parametrize("level", ["annotation", "label"])
@pytest.mark.parametrize("resource", RESOURCES)
def test_every_resource_on_the_wrong_level_is_heard(resource: str, level: str) -> None:
    for base in ({}, BASE):
        found = read(noted(base, level, {resource: "1"}))
        assert heard(found, read(make_pod(base)), resource)


@pytest.mark.parametrize(
    ("level", "key"), [*(("annotation", key) for key in ANNOTATIONS), *(("label", key) for key in LABELS)]
)
def test_every_annotation_and_label_is_heard(level: str, key: str) -> None:
    for wrong in misspelt(key):
        if wrong not in (*ANNOTATIONS, *LABELS, *dialects.OF_RESOURCE):
            for base in ({}, BASE):
                found = read(noted(base, level, {wrong: "1"}))
                assert heard(found, read(make_pod(base)), wrong), wrong


@pytest.mark.parametrize(
    ("level", "key"),
    [*(("annotation", key) for key in ANNOTATIONS), *(("label", key) for key in LABELS if key != "hami.io/webhook")],
)
def test_every_annotation_and_label_alone_is_heard(level: str, key: str) -> None:
    found = read(noted({}, level, {key: "0.5"}))
    if key == names.ANNOTATION_LIMITS:  # which another check refuses
        return
    assert heard(found, read(make_pod({})), key)


@pytest.mark.parametrize("key", near_misses.SWITCHES)
def test_every_switch_alone_is_heard(key: str) -> None:
    """With CGPU_DISABLE and no gpu-mem, a pod sees all GPUs of an ACK node. Here it sees none, and is warned."""
    assert heard(read(make_pod({}, env={key: "true"})), read(make_pod({})), key)


@pytest.mark.parametrize("key", near_misses.VARIABLES)
def test_every_variable_is_heard(key: str) -> None:
    for wrong in misspelt(key.lower()):
        variable = wrong.upper()
        if variable not in near_misses.VARIABLES:
            for base in ({}, BASE):
                found = read(make_pod(base, env={variable: "true"}))
                assert heard(found, read(make_pod(base)), variable), variable


@pytest.mark.parametrize("key", [*near_misses.OF_NAMESPACES, *near_misses.NAMESPACE_LABELS])
def test_every_key_of_a_namespace_is_heard(key: str) -> None:
    kind = "labels" if key in near_misses.NAMESPACE_LABELS else "annotations"
    for wrong in misspelt(key):
        if wrong in (*near_misses.OF_NAMESPACES, *near_misses.NAMESPACE_LABELS):
            continue
        cache = ClusterCache(Options())
        cache.set_namespace(cluster_cache.namespace_rules({"metadata": {"name": "team", kind: {wrong: "1"}}}))
        said = " ".join(read(make_pod(BASE), cache.options("team")).warnings)
        assert f"namespace: {kind[:-1]} {wrong} = 1: unknown, has no effect; accepted: " in said, wrong


@pytest.mark.parametrize(
    "name",
    [
        *("amd.com/gpu", "intel.com/gpu", "gpu.intel.com/i915", "example.com/gpu", "cpu", "memory", "pods"),
        *("nvidia.com/mig-1g.5gb", "koordinator.sh/rdma", "aliyun.com/eni", "hugepages-2Mi"),
    ],
)
def test_what_is_somebody_elses_is_left_in_peace(name: str) -> None:
    assert read(make_pod({name: "1"})) == translate.Translation()
    assert read(make_pod({}, annotations={name: "1"}, labels={name: "1"}, env={name: "1"})) == translate.Translation()


def test_one_letter_is_one_letter() -> None:
    for wrong in ("ab", "abcd", "abx", "xbc", "bac", "acb", "xabc", "abcx", "bc", "axc"):
        assert near_misses.nearest(wrong, ["abc"]) == "abc", wrong
    for other in ("abc", "a", "abcde", "xyc", "cba", "bca", "xab", ""):
        assert near_misses.nearest(other, ["abc"]) == "", other


@pytest.mark.parametrize("stems", [(), unsupported.STEMS], ids=["whole", "without the stem"])
def test_a_misspelt_key_keeps_a_frame(stems: tuple[str, ...]) -> None:
    """By which the API server knows what to send to the webhook."""
    for key in (*RESOURCES, *ANNOTATIONS, *LABELS, *near_misses.VARIABLES):
        kept = near_misses.frames(key, stems)
        for wrong in misspelt(key):
            assert any(stem in wrong for stem in stems) or any(
                wrong.startswith(begin)
                and wrong.endswith(end)
                and len(wrong) <= len(begin) + len(end) + near_misses.GAP
                for begin, end in kept
            ), wrong


def test_a_misspelt_stem_is_known_by_what_is_left() -> None:
    for stem in unsupported.STEMS:
        for wrong in misspelt(stem):
            if stem not in wrong:
                assert re.search(unsupported.MISSPELT_STEMS, wrong), wrong
