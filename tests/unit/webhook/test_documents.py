"""docs/reference/dialects.md names what there is."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.webhook.conftest import make_pod
from unigpu import names
from webhook.limits import update_warnings
from webhook.translation import dialects, isolation, pod_reading, pods, preferences, translate
from webhook.translation.dialect import Dialect
from webhook.translation.options import Options

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "dialects.md").read_text()


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_every_field_is_in_the_reference(dialect: Dialect) -> None:
    fields = (*dialect.resources, *dialect.annotations)
    missing = [field for field in fields if field.rpartition("/")[2] not in PAGE]
    assert not missing, f"{missing} of dialect {dialect.name} need rows in docs/reference/dialects.md"


@pytest.mark.parametrize(
    "name",
    [
        *isolation.SWITCHES,
        preferences.NODE_POLICY,
        preferences.GPU_POLICY,
        names.ANNOTATION_DEFAULT_MEMORY,
        names.ANNOTATION_DEFAULT_CORES,
        names.ANNOTATION_MAX_GPUS,
        names.ANNOTATION_MAX_MEMORY,
        names.ANNOTATION_MAX_CORES,
        names.ANNOTATION_ISOLATION,
    ],
)
def test_every_switch_and_annotation_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in PAGE


def shown() -> list[str]:
    """The refusals and warnings that the reference shows literally."""
    return [line for line in PAGE.splitlines() if line.startswith(("container main: ", "pod: "))]


def test_refusals_and_warnings_are_shown_as_they_are() -> None:
    volcano = {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "2000"}
    gang = {"scheduling.k8s.io/group-name": "vj"}
    before, after = (
        pods.read(make_pod(annotations={names.ANNOTATION_REQUEST: "{}"} | more))
        for more in ({}, {"tencent.com/vcuda-core-limit": "80"})
    )
    disagreeing = {"aliyun.com/gpu-mem": "3", names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "4096"}
    said = [
        *map(str, translated(make_pod(disagreeing)).problems),
        *map(str, translated(make_pod({"tencent.com/vcuda-core": "150"})).problems),
        *translated(make_pod({"nvidia.com/gpumemory": "4000"})).warnings,
        *translated(make_pod({"nvidia.com/gpu": "1"}, annotations={"nvidia.com/gpumem": "4000"})).warnings,
        *translated(make_pod(volcano, annotations=gang, schedulerName="volcano")).warnings,
        *translated(make_pod(env={"CGPU_DISABLE": "true"})).warnings,
        *update_warnings.without_effect(before, after),
    ]
    assert shown() == said


def translated(document: dict[str, Any]) -> translate.Translation:
    return translate.translate(pod_reading.read(pods.read(document), Options()))
