"""Values, their schema and their reference."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
import yaml

from demo import install
from tests.chart.rendering import CHART, EVERY_OPTION, ROOT, helm, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
EVERY = yaml.safe_load(EVERY_OPTION.read_text())


def leaves(
    schema: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every value that isn't only a group of others."""
    if "properties" not in schema:
        yield path, schema
        return
    for name, part in schema["properties"].items():
        yield from leaves(part, (*path, name))


def groups(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "properties" in schema:
        yield path
        for name, part in schema["properties"].items():
            yield from groups(part, (*path, name))


def at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [path for path, _ in leaves(SCHEMA)], ids=".".join)
def test_every_value_has_a_default_a_meaning_and_another_value_under_test(path: tuple[str, ...]) -> None:
    known = dict(leaves(SCHEMA))[path]
    assert known["description"]
    assert at(EVERY, path) != at(DEFAULTS, path), f"{'.'.join(path)} isn't set to another value in every-option.yaml"


@pytest.mark.parametrize("values", [DEFAULTS, EVERY], ids=["defaults", "every option"])
def test_nothing_is_set_that_the_schema_does_not_know(values: Any) -> None:
    jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize("path", [path for path in groups(SCHEMA) if path != ("global",)], ids=".".join)
def test_a_value_that_nobody_knows_is_refused(path: tuple[str, ...]) -> None:
    done = helm("template", "release", CHART, "--set", ".".join((*path, "surprise=1")))
    assert done.returncode != 0
    assert "surprise" in done.stderr


def optional(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Values that a template can do without."""
    for name, part in schema.get("properties", {}).items():
        if path and path != ("global",) and name not in schema["required"]:
            yield (*path, name)
        yield from optional(part, (*path, name))


@pytest.mark.parametrize("values", [(), ("--values", EVERY_OPTION)], ids=["defaults", "every option"])
def test_null_takes_a_default_away(values: tuple[str, ...]) -> None:
    paths = [*optional(SCHEMA), ("commonLabels",), ("global", "registry"), ("global", "imagePullSecrets")]
    assert ("scheduler", "image", "tag") in paths
    settings = [word for path in paths for word in ("--set", f"{'.'.join(path)}=null")]
    done = helm("template", "release", CHART, *values, *settings)
    assert done.returncode == 0, done.stderr
    assert "<nil>" not in done.stdout and "%!" not in done.stdout
    assert [item for item in yaml.safe_load_all(done.stdout) if item]


def test_a_default_that_was_taken_away_is_gone() -> None:
    assert "priorityClassName: system-node-critical" in helm("template", "release", CHART).stdout
    settings = ("--set", "nodeAgent.priorityClassName=null,nodeAgent.tolerations=null,nodeAgent.resources.limits=null")
    done = helm("template", "release", CHART, "--show-only", "templates/node-agent/daemonset.yaml", *settings)
    spec = yaml.safe_load(done.stdout)["spec"]["template"]["spec"]
    assert not {"priorityClassName", "tolerations"} & spec.keys()
    assert spec["containers"][0]["resources"].keys() == {"requests"}


def test_other_global_values_are_let_through() -> None:
    assert helm("template", "release", CHART, "--set", "global.surprise=1").returncode == 0


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("webhook.failurePolicy=Maybe", "/webhook/failurePolicy"),
        ("webhook.replicas=0", "/webhook/replicas"),
        ("webhook.timeoutSeconds=31", "/webhook/timeoutSeconds"),
        ("webhook.podDisruptionBudget.minAvailable=0", "minAvailable"),
        ("dialects.aliyunMemoryUnit=GB", "/dialects/aliyunMemoryUnit"),
        ("placement.nodes=topology-aware", "/placement/nodes"),
        ("placement.sharesPerGpu=many", "/placement/sharesPerGpu"),
        ("nodeAgent.driver.kind=amd", "/nodeAgent/driver/kind"),
        ("nodeAgent.stateDirectory=relative", "/nodeAgent/stateDirectory"),
        ("image.digest=latest", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("log.level=loud", "/log/level"),
        ("monitoring.podMonitor.interval=15", "/monitoring/podMonitor/interval"),
        ("webhook.extraArgs=--one", "/webhook/extraArgs"),
        ("scheduler.serviceAccount.name=Upper", "/scheduler/serviceAccount/name"),
        ("scheduler.podDisruptionBudget.minAvailable=half", "minAvailable"),
        ("tests.namespace=", "/tests/namespace"),
    ],
)
def test_a_value_that_cannot_be_is_refused(setting: str, says: str) -> None:
    done = helm("template", "release", CHART, "--set", setting)
    assert done.returncode != 0
    assert says in done.stderr


@pytest.mark.parametrize("values", [(), ("--values", EVERY_OPTION)], ids=["defaults", "every option"])
def test_helm_finds_nothing_to_complain_about(values: tuple[str, ...]) -> None:
    done = helm("lint", "--strict", CHART, *values)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_generated_is_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "helm" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_demos_values_for_simulated_gpus_are_of_the_schemas_types() -> None:
    images = {"services": "localhost/unigpu:1", "scheduler": "localhost/kube-scheduler:1"}
    assert render(*install.values(images, simulated=True)).get("DaemonSet", "unigpu-node-agent")
