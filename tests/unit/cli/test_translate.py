"""`kubectl unigpu translate`, from arguments to output and exit status."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import __main__ as command
from unigpu import names

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, creationTimestamp: 2030-01-01T00:00:00Z}
spec:
  containers:
    - name: c
      resources: {limits: {aliyun.com/gpu-mem: %s}}
"""
REFUSED = POD.replace("aliyun.com/gpu-mem: %s", "tencent.com/vcuda-core: 150")
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "resources": {"limits": {"aliyun.com/gpu-mem": 2}}}]},
}


class Ran:
    """What the command did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def documents(self) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all(self.out))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*texts: str, options: tuple[str, ...] = ()) -> Ran:
        arguments = []
        for number, text in enumerate(texts):
            path = tmp_path / f"{number}.yaml"
            path.write_text(text)
            arguments += ["-f", str(path)]
        status = command.main(["translate", *arguments, *options])
        return Ran(status, *capsys.readouterr())

    return run


def limits(template: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = template["spec"]["containers"][0]["resources"]["limits"]
    return found


TRANSLATED = {"aliyun.com/gpu-mem": 2, names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "2048"}


def test_a_pod(run: Any) -> None:
    ran = run(POD % 2)
    (document,) = ran.documents
    assert ran.status == 0
    assert limits(document) == TRANSLATED
    assert document["spec"]["schedulerName"] == names.SCHEDULER_NAME
    assert names.ANNOTATION_REQUEST in document["metadata"]["annotations"]
    assert "'2030-01-01T00:00:00Z'" in ran.out
    assert "Pod/p: container c (alibaba): 1 GPU, 2048 MiB" in ran.err


@pytest.mark.parametrize(
    "kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"]
)
def test_workloads(run: Any, kind: str) -> None:
    ran = run(yaml.safe_dump({"kind": kind, "metadata": {"name": "w"}, "spec": {"template": TEMPLATE}}))
    (document,) = ran.documents
    assert limits(document["spec"]["template"]) == TRANSLATED
    assert "annotations" not in document["metadata"]
    assert f"{kind}/w: container c" in ran.err


def test_cron_jobs(run: Any) -> None:
    spec = {"jobTemplate": {"spec": {"template": TEMPLATE}}}
    (document,) = run(yaml.safe_dump({"kind": "CronJob", "metadata": {"name": "w"}, "spec": spec})).documents
    assert limits(document["spec"]["jobTemplate"]["spec"]["template"]) == TRANSLATED


def test_templates_of_kinds_that_nobody_here_knows(run: Any) -> None:
    spec = {"tasks": [{"template": TEMPLATE}, {"template": TEMPLATE}]}
    ran = run(yaml.safe_dump({"kind": "Job", "apiVersion": "batch.volcano.sh/v1alpha1", "spec": spec}))
    (document,) = ran.documents
    assert [limits(task["template"]) for task in document["spec"]["tasks"]] == [TRANSLATED, TRANSLATED]
    assert "Job/? spec.tasks[1].template: container c" in ran.err


def test_lists_and_several_documents(run: Any) -> None:
    items = {"kind": "List", "items": [yaml.safe_load(POD % 1), yaml.safe_load(POD % 2)]}
    ran = run(yaml.safe_dump(items) + "---\n" + POD % 3 + "---\n---\nkind: Service\n")
    assert [document["kind"] for document in ran.documents] == ["Pod", "Pod", "Pod", "Service"]


def test_what_is_refused_is_told_and_left_out(run: Any) -> None:
    ran = run(POD % 2, REFUSED)
    assert ran.status == 1
    assert len(ran.documents) == 1
    assert "refused: Pod/p: container c: tencent.com/vcuda-core = 150" in ran.err


def test_a_fraction_is_explained(run: Any) -> None:
    ran = run(POD % "5.5")
    assert ran.status == 1
    assert "aliyun.com/gpu-mem = 5.5" in ran.err
    assert "Kubernetes accepts no fractions" in ran.err


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{{ .Values.x }}: [", "not YAML"),
        ("a: b", "no kind"),
        ("- 1", "no kind"),
        ("kind: 1", "no kind"),
        ("kind: Pod\nspec: {containers: 1}", "spec.containers"),
        ("kind: Pod\nspec: {containers: [{env: [{name: a, value: 1}]}]}", "quote it"),
        ("kind: Pod\na: &a [*a]", "can't be JSON"),
        ("kind: List\nitems: [1]", "no kind"),
    ],
)
def test_what_isnt_readable(run: Any, text: str, part: str) -> None:
    ran = run(text, POD % 1)
    assert ran.status == 2
    assert part in ran.err
    assert len(ran.documents) == 1


def test_unreadable_weighs_more_than_refused(run: Any) -> None:
    assert run("[", REFUSED).status == 2


def test_folders_and_missing_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yml").write_text(POD % 1)
    (tmp_path / "b.json").write_text(json.dumps(yaml.safe_load(POD % 2) | {"metadata": {"name": "j"}}))
    (tmp_path / "c.txt").write_text("no manifest")
    assert command.main(["translate", "-f", str(tmp_path)]) == 0
    assert len(list(yaml.safe_load_all(capsys.readouterr().out))) == 2
    assert command.main(["translate", "-f", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert command.main(["translate", "-f", str(tmp_path / "empty")]) == 2


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(POD % 2))
    assert command.main(["translate", "-f", "-"]) == 0
    assert limits(yaml.safe_load(capsys.readouterr().out)) == TRANSLATED


def test_json(run: Any) -> None:
    one = json.loads(run(POD % 2, options=("-o", "json")).out)
    assert limits(one) == TRANSLATED
    two = json.loads(run(POD % 2, POD % 3, options=("-o", "json")).out)
    assert two["kind"] == "List" and len(two["items"]) == 2


def test_diff_shows_only_what_changes(run: Any) -> None:
    lines = run(POD % 2, "kind: Service\nmetadata: {name: s}", options=("-o", "diff")).out.splitlines()
    removed = [line for line in lines if line.startswith("-") and not line.startswith("---")]
    assert removed == []
    added = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    assert "unigpu.dev/memory: '2048'" in added
    lines = run(POD % 2, options=("-o", "diff", "--vendor-resources=replace")).out.splitlines()
    assert "-        aliyun.com/gpu-mem: 2" in lines
    assert sum(line.startswith("--- ") for line in lines) == 1


def test_options(run: Any) -> None:
    (document,) = run(POD % 2, options=("--aliyun-unit", "MiB")).documents
    assert limits(document)[names.RESOURCE_MEMORY] == "2"


VALUES = """
dialects:
  aliyunMemoryUnit: MiB
  volcanoMemoryFactor: 10
  vgpuManagerMemoryFactor: 20
  vendorResources: replace
  isolationOptOut: false
  hamiResourceNames: {count: acme.example/gpu, memory: nvidia.com/gpumem}
  additional:
    - {name: corp, shape: byCore, cores: corp.example/core, memory: corp.example/mem, memoryUnit: 256}
nodeAgent: {publishVendorResources: true}
webhook: {replicas: 3}
"""


@pytest.mark.parametrize(
    ("fields", "unified"),
    [
        ("aliyun.com/gpu-mem: 300", {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "300"}),
        ("volcano.sh/gpu-memory: 30", {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "300"}),
        (
            "nvidia.com/vgpu-number: 1, nvidia.com/vgpu-memory: 15",
            {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "300"},
        ),
        ("acme.example/gpu: 1", {names.RESOURCE_VGPU: "1", names.RESOURCE_CORES: "100"}),
        ("corp.example/mem: 4", {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "1024"}),
        ("nvidia.com/gpu: 1", {"nvidia.com/gpu": 1}),
    ],
)
def test_the_values_of_the_chart(run: Any, tmp_path: Path, fields: str, unified: dict[str, Any]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(VALUES)
    text = POD.replace("aliyun.com/gpu-mem: %s", fields)
    (document,) = run(text, options=("--values", str(file))).documents
    assert limits(document) == unified


def test_options_come_before_values(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(VALUES)
    (document,) = run(POD % 2, options=("--values", str(file), "--aliyun-unit=GiB")).documents
    assert limits(document)[names.RESOURCE_MEMORY] == "2048"


@pytest.mark.parametrize(
    "text", ["[", "dialects: 1", "dialects: {aliyunMemoryUnit: GB}", "dialects: {additional: [1]}"]
)
def test_values_that_cant_be_read(run: Any, tmp_path: Path, text: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    ran = run(POD % 2, options=("--values", str(file)))
    assert ran.status == 2 and ran.err.startswith(f"error: {file}")


def test_whole_gpus_count_with_their_memory(run: Any) -> None:
    whole = POD.replace("aliyun.com/gpu-mem: %s", "nvidia.com/gpu: 2")
    (document,) = run(whole, options=("--gpu-memory=24576",)).documents
    assert limits(document)[names.RESOURCE_MEMORY] == "49152"


def test_translating_twice_changes_nothing(run: Any) -> None:
    once = run(POD % 2).out
    again = run(once)
    assert again.status == 0
    assert again.out == once


def test_anchors_are_one_part_each(run: Any) -> None:
    text = POD.replace("{limits: {aliyun.com/gpu-mem: %s}}", "{limits: &same {aliyun.com/gpu-mem: 2}, requests: *same}")
    (document,) = run(text).documents
    assert document["spec"]["containers"][0]["resources"] == {"limits": TRANSLATED, "requests": TRANSLATED}
