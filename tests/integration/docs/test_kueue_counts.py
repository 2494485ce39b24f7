"""Kueue's own code reads the configuration of examples/kueue, and counts by it what our arithmetic of it says.

`make check-kueue` builds the program that joins Kueue's packages; without it these tests are left out. The arithmetic
itself is compared with admission in tests/unit/docs/test_kueue.py, for every resource of every dialect.
"""

import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import build
from tests.unit.docs import test_kueue as arithmetic
from tests.unit.docs.pages import ROOT
from unigpu import names

PROGRAM = build.kueue().output
EXAMPLE = ROOT / "examples/kueue/transformations.yaml"
PAGE = ROOT / "docs/reference/kueue.md"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not build.kueue().is_current(), reason="`make check-kueue` builds what this needs")


def counted(configuration: Path, *containers: Mapping[str, str]) -> dict[str, int]:
    """Return what Kueue counts for a pod whose containers ask for this. An error fails the test."""
    spec = {
        "containers": [
            {"name": f"c{number}", "resources": {"limits": asked}} for number, asked in enumerate(containers)
        ]
    }
    done = started(configuration, [spec])
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    return dict(found)


def started(configuration: Path, specs: Sequence[Mapping[str, Any]]) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), str(configuration)]
    return subprocess.run(command, input=json.dumps(specs), capture_output=True, text=True, timeout=60, check=False)


def written(folder: Path, resources: Mapping[str, Any]) -> Path:
    """Return a configuration of Kueue that says this of resources."""
    file = folder / "configuration.yaml"
    head = {"apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration"}
    file.write_text(yaml.safe_dump({**head, "resources": resources}))
    return file


@pytest.mark.parametrize("asked", [asked for asked, _ in arithmetic.SAMPLES], ids=" ".join)
def test_kueue_counts_what_the_arithmetic_says(asked: arithmetic.Resources) -> None:
    meant = {name: math.ceil(amount) for name, amount in arithmetic.transformed(asked).items()}
    assert counted(EXAMPLE, asked) == meant


def test_the_fields_of_several_containers_are_added_before_they_are_multiplied() -> None:
    """As the page warns: with a different number of GPUs, the product of the sums."""
    one, two = (
        {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1000"},
        {"nvidia.com/gpu": "2", "nvidia.com/gpumem": "3000"},
    )
    assert counted(EXAMPLE, one, two) == {names.RESOURCE_VGPU: 3, names.RESOURCE_MEMORY: 12000}
    assert counted(EXAMPLE, {"aliyun.com/gpu-mem": "1"}, {"aliyun.com/gpu-mem": "2"}) == {names.RESOURCE_MEMORY: 3072}


def test_percent_of_memory_counts_as_the_page_says(tmp_path: Path) -> None:
    """GPUs of one size: a hundredth of it at each percent, times HAMi's number of GPUs."""
    rules = [dict(one) for one in arithmetic.CONFIGURATION["resources"]["transformations"]]
    (percent,) = (one for one in rules if one["input"] == "nvidia.com/gpumem-percentage")
    assert 'unigpu.dev/memory: "454600m"' in PAGE.read_text() and "multiplyBy: nvidia.com/gpu`" in PAGE.read_text()
    percent |= {"outputs": {names.RESOURCE_MEMORY: "454600m"}, "multiplyBy": "nvidia.com/gpu"}
    asked = {"nvidia.com/gpu": "2", "nvidia.com/gpumem-percentage": "50"}
    assert counted(written(tmp_path, {"transformations": rules}), asked)[names.RESOURCE_MEMORY] == 45460


def test_pods_after_admission_count_once(tmp_path: Path) -> None:
    """With the page's prefixes, for integrations that see pods rather than jobs."""
    (block,) = (block for block in _BLOCK.findall(PAGE.read_text()) if "excludeResourcePrefixes" in block)
    configuration = written(tmp_path, yaml.safe_load(block)["resources"])
    for asked, _ in arithmetic.SAMPLES:
        unified = {name: int(amount) for name, amount in arithmetic.unified(asked).items()}
        admitted = {**asked, **{name: str(amount) for name, amount in unified.items()}}
        assert counted(configuration, admitted) == unified


def test_a_wrong_configuration_would_be_refused(tmp_path: Path) -> None:
    twice = [{"input": "a.example/b", "strategy": "Replace"}] * 2
    done = started(written(tmp_path, {"transformations": twice}), [])
    assert done.returncode == 1 and "Duplicate value" in done.stderr
