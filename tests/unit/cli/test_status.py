"""`kubectl unigpu status`: what is counted, the table, the lines and the document."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as command
from cli import text
from cli.status import command as status_command
from cli.status import document, pending, render, tenants, view
from cli.status.view import NodeObject, View
from cli.text import Style
from tests.unit.cli import objects
from tests.unit.cli.objects import A, B, C, asked, gpu, metadata, node, share
from unigpu import allocations, cordons, gpus, names, walls
from unigpu.cordons import Cordon
from unigpu.gpus import Fault
from unigpu.requests import ComputePolicy, Request, Role
from unigpu.units import MiB, Percent
from unigpu.walls import Wall, Walls

NARROW = Style(80)
NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
HELD = '{"main":{"held":{"GPU-a":40},"memory":20}}'
FAULT = Fault("XID 79", "2026-01-01T00:00:00Z", "boot")


def tree(found: View, style: Style = NARROW, by: str = "container") -> list[str]:
    return "\n".join(render.tree(found, style, NOW, by)).splitlines()


def wide(found: View) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in render.wide(found, NARROW)]


@pytest.fixture
def found() -> View:
    nodes = [
        node("n2", gpu(C, 0, 100, healthy=False, fault=FAULT), condition="NotReady", labels={names.LABEL_MODE: "cgpu"}),
        node("n1", gpu(B, 1), gpu(A, 0)),
        NodeObject({"name": "n3"}),
    ]
    pods = [
        metadata("p", share(4096, 30)),
        metadata("a-pod-of-a-controller-with-a-very-long-name-5c7d8-x2x", share(0, 10)),
        metadata("q", share(24576, 100, B, whole=True), namespace="other"),
        {"name": "plain"},
        {"name": "broken", "annotations": {names.ANNOTATION_ALLOCATION: "?"}},
    ]
    waiting = pending.pending([objects.pending("w", objects.UNSCHEDULABLE), {"metadata": {"name": "x"}}, {}])
    return dataclasses.replace(view.view(nodes, pods), pending=waiting)


REQUESTS = (
    asked(100, 30, dialect="hami"),
    asked(100, 30, policy=ComputePolicy.SOFT, ceiling=Percent(80)),
    asked(100, policy=ComputePolicy.UNLIMITED),
)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("cores", [0, 30])
@pytest.mark.parametrize("request_", [*REQUESTS, None])
def test_a_pod_with_one_share_is_read_as_all_others_are(request_: Request | None, cores: int, whole: bool) -> None:
    """Nearly every pod of a large cluster has one share, as requested, and is read in a shorter way."""
    one = metadata("p", share(100, cores, whole=whole), request=request_)
    if request_ is None:
        one["annotations"][names.ANNOTATION_REQUEST] = "?"
    # What the node agent says in other words, so that the longer way is taken.
    other = {**one, "annotations": {**one["annotations"], names.ANNOTATION_LIMITS_APPLIED: "{}"}}
    assert [*tenants.pod_shares(one)] == [*tenants.pod_shares(other)] != []


def test_the_table_fits_80_columns_and_has_sums(found: View) -> None:
    lines = tree(found)
    assert lines == [
        "2 nodes, 3 GPUs: 28/48.1 GiB granted (58 %), 20 GiB free, 46 % of compute",
        "granted, 3 shares.",
        "Attention: 1 unhealthy GPU, 1 node that takes no pods, 1 pending pod.",
        "",
        "NODE, GPU, CONTAINER                           MEMORY    FREE      CORES  SHARES",
        "n1                                          28/48 GiB  20 GiB  140/200 %       3",
        "  0 T4                                       4/24 GiB  20 GiB   40/100 %       2",
        "    team/a-pod-of-a-controller-with-a-very-long-name-5c7d8-x2x main",
        "                                                  any               10 %",
        "    team/p main                                 4 GiB               30 %",
        "  1 T4                                      24/24 GiB   0 MiB  100/100 %       1",
        "    other/q main                               24 GiB              whole",
        "n2                                          0/100 MiB   0 MiB    0/100 %       0",
        "  ! NotReady: it takes no new pods",
        "  mode cgpu",
        "  0 T4                                      0/100 MiB   0 MiB    0/100 %       0",
        "    ! unhealthy: XID 79, since 2026-01-01T00:00:00Z; it lasts until the GPU is",
        "      reset",
        "",
        "PENDING",
        "team/w, for 5m: 1 GPU with 1024 MiB and 10 percent of compute time",
        "  ! Unschedulable: 0/1 nodes are available: 1 container main needs more.",
    ]
    assert max(map(len, lines)) <= 80


def test_less_detail(found: View) -> None:
    assert [line.split()[0] for line in tree(found, by="node")[5:7]] == ["n1", "n2"]
    assert not any("team/p main" in line for line in tree(found, by="gpu"))


def test_one_node_and_one_namespace(found: View) -> None:
    assert [one.name for one in found.only(node="n2").nodes] == ["n2"]
    lines = tree(found.only(namespace="other"))
    assert lines[0].startswith("1 node, 1 GPU with containers of namespace other: 24/24 GiB granted")
    assert not any("team/" in line for line in lines)


def test_without_cluster_rights_nothing_is_said_of_what_is_free() -> None:
    seen = view.view([], [metadata("p", share(4096, 30))])
    lines = tree(dataclasses.replace(seen, complete=False, namespace="team", notes=("you may not list nodes.",)))
    assert lines[0] == "Note: you may not list nodes."
    assert lines[1] == "1 node, 1 GPU with containers of namespace team: 4 GiB and compute of 30 % of a"
    assert any(re.fullmatch(r"  GPU-a +4 GiB +\? +30/100 % +1", line) for line in lines)
    assert document.document(dataclasses.replace(seen, complete=False))["total"]["memory"]["free"] is None


def test_what_holds_a_nodes_containers() -> None:
    one = node("n1", gpu())
    text = walls.dump(Walls({Wall.DRIVER: "too old"}))
    told = NodeObject({**one.metadata, "annotations": {**one.metadata["annotations"], names.ANNOTATION_WALLS: text}})
    assert "  walls: libvgpu, comparison" in tree(view.view([told], []))
    assert document.document(view.view([told], []))["nodes"][0]["walls"] == ["libvgpu", "comparison"]
    assert document.document(view.view([one], []))["nodes"][0]["walls"] is None


def test_no_gpus() -> None:
    assert "no node has an inventory of GPUs" in " ".join(tree(View(())))
    assert tree(View((), namespace="x")) == ["No GPUs with containers of namespace x."]


def test_an_inventory_that_cannot_be_read_is_said() -> None:
    bad = NodeObject({"name": "n1", "annotations": {names.ANNOTATION_INVENTORY: "?"}})
    lines = tree(view.view([bad], [metadata("p", share())]))
    assert any("! inventory annotation can't be read" in line for line in lines)
    assert any("! the node's inventory doesn't have this GPU" in line for line in lines)


def test_more_granted_than_there_is() -> None:
    seen = view.view([node("n1", gpu(memory=1000))], [metadata("p", share(800)), metadata("q", share(800))])
    assert any("! more is granted than the GPU has" in line for line in tree(seen))
    assert seen.nodes[0].gpus[0].free == 0


def test_init_containers_count_once() -> None:
    pod = metadata("p", share(1000, 10), request=asked(1000, 10, role=Role.INIT))
    both = json.loads(pod["annotations"][names.ANNOTATION_ALLOCATION])
    both["containers"]["next"] = [{"gpu": A, "memory": 3000, "cores": 20}]
    pod["annotations"][names.ANNOTATION_ALLOCATION] = json.dumps(both)
    (one,) = view.view([node("n1", gpu())], [pod]).nodes[0].gpus
    assert (one.taken.memory, one.taken.cores, one.taken.shares) == (3000, 20, 1)
    assert [tenant.container for tenant in one.tenants] == ["main", "next"]


@pytest.mark.parametrize(
    ("limits", "applied", "cells", "counted"),
    [
        ("memory=20,cores=5,ceiling=80", None, ["20/200", "5 to 80 %", "changed, not in force yet"], 50),
        ("memory=20", '{"main":{"memory":20}}', ["20/200", "30 %", "changed"], 20),
        ("memory=20", HELD, ["20/200", "30 %", "changed, 40 MiB still held"], 40),
        (None, '{"main":{"memory":20}}', ["50/200", "30 %", "as requested, not in force yet"], 50),
        (None, '{"main":{"held":{"GPU-a":70}}}', ["50/200", "30 %", "as requested, 70 MiB still held"], 70),
        ("policy=unlimited", '{"main":{"policy":"unlimited"}}', ["50/200", "30 to 100 %", "changed"], 50),
        ("memory=?", None, ["50/200", "30 %", "as requested"], 50),
    ],
)
def test_limits_that_were_changed(limits: str | None, applied: str | None, cells: list[str], counted: int) -> None:
    pod = metadata("p", share(50, 30), limits=limits, applied=applied)
    seen = view.view([node("n1", gpu(memory=200))], [pod])
    assert wide(seen)[1] == ["n1", "0", "GPU-a", "T4", *cells, "team/p", "main", "unigpu", "ok"]
    assert seen.sums.granted == counted
    remarks = [line.strip() for line in tree(seen) if "limits" in line]
    calm = {"as requested": [], "changed": ["limits changed"]}
    assert remarks == calm.get(cells[2], [f"! limits {cells[2]}"])


def test_wide_lines_name_everything(found: View) -> None:
    lines = wide(found)
    assert lines[0][0] == "NODE" and len({len(line) for line in lines}) == 1
    assert [line[0] for line in lines[1:]] == ["n1", "n1", "n1", "n2"]
    assert lines[4][-1] == "unhealthy: XID 79, since 2026-01-01T00:00:00Z; it lasts until the GPU is reset"


def test_the_document_is_stable(found: View) -> None:
    made = document.document(found)
    assert made["apiVersion"] == "unigpu.dev/status/v1"
    assert made["total"] == {
        "gpus": 3,
        "unhealthyGpus": 1,
        "memory": {"total": 49252, "granted": 28672, "free": 20480},
        "cores": {"total": 300, "granted": 140},
        "shares": 3,
    }
    first, second = made["nodes"]
    assert (first["name"], second["condition"], second["mode"]) == ("n1", "NotReady", "cgpu")
    assert second["gpuList"][0]["fault"] == {"reason": "XID 79", "since": "2026-01-01T00:00:00Z", "needsReset": True}
    assert first["gpuList"][0]["containers"][1] == {
        "namespace": "team",
        "pod": "p",
        "container": "main",
        "dialect": "unigpu",
        "memory": 4096,
        "cores": 30,
        "ceiling": 0,
        "whole": False,
        "limitsChanged": False,
        "limitsInForce": True,
        "heldMemory": 0,
    }
    assert made["pending"][0]["reason"] == "Unschedulable"
    page = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text()
    assert not [key for key in _keys(made) if not any(f"`{key}{end}" in page for end in ("`", "[]`"))]


def _keys(made: Any) -> set[str]:
    if isinstance(made, dict):
        return set(made) | {key for value in made.values() for key in _keys(value)}
    return {key for item in made for key in _keys(item)} if isinstance(made, list) else set()


@pytest.mark.parametrize(
    ("pod", "reason", "message"),
    [
        (objects.pending("p", objects.UNSCHEDULABLE), "Unschedulable", "0/1 nodes are available"),
        (objects.pending("p"), "NotScheduled", "scheduler default-scheduler hasn't looked at the pod"),
        (objects.pending("p", nodeName="n1"), "Starting", "bound to node n1"),
        (
            objects.pending("p", nodeName="n1")
            | {
                "status": {
                    "phase": "Pending",
                    "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no image"}}}],
                }
            },
            "ErrImagePull",
            "no image",
        ),
        (
            objects.pending("p", nodeName="n1") | {"status": {"phase": "Pending", "reason": "Evicted", "message": "m"}},
            "Evicted",
            "m",
        ),
    ],
)
def test_why_a_pod_waits(pod: dict[str, Any], reason: str, message: str) -> None:
    one = pending.pending_pod(pod)
    assert one is not None and one.reason == reason and message in one.message


def test_a_pod_that_skipped_the_webhook_waits_too() -> None:
    limits = {"resources": {"limits": {"aliyun.com/gpu-mem": "3"}}}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", **limits}]}, "status": {"phase": "Pending"}}
    one = pending.pending_pod(pod)
    assert one is not None and (one.asks, one.reason) == ("aliyun.com/gpu-mem: 3", "SkippedWebhook")


def test_text_of_the_cluster_cannot_write_over_the_terminal() -> None:
    pod = objects.pending("p", {**objects.UNSCHEDULABLE, "message": "\x1b[2Jgone"})
    seen = dataclasses.replace(View(()), pending=pending.pending([pod]))
    assert "\x1b" not in "\n".join(tree(seen))


def test_each_object_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a large cluster slow is reading annotations: once for each node and pod, and never while drawing."""
    reads: list[str] = []
    for module, name in ((gpus, "load"), (allocations, "load")):
        load = getattr(module, name)

        def counted(text: str, load: Any = load) -> Any:
            reads.append(text)
            return load(text)

        monkeypatch.setattr(module, name, counted)
    nodes = [node(f"n{number}", gpu()) for number in range(20)]
    pods = [metadata(f"p{number}", share(), on=f"n{number % 20}") for number in range(100)]
    seen = view.view(nodes, pods)
    assert len(reads) == 120
    tree(seen), wide(seen), document.document(seen)
    assert len(reads) == 120


def test_output_in_every_form(found: View, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.setattr(text, "style", lambda: NARROW)
    as_json, as_yaml = (status_command.output(found, form, "container")[0] for form in ("json", "yaml"))
    assert json.loads(as_json) == yaml.safe_load(as_yaml) == document.document(found)
    assert status_command.output(found, "wide", "container")[0].startswith("NODE ")


def test_without_a_cluster_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["status", "--kubeconfig", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: no cluster to ask: --kubeconfig = {tmp_path / 'none'}: no such file; accepted:")
    assert said.count("\n") == 1


def test_cordons_and_memory_without_a_grant_are_said_and_not_free() -> None:
    cordoned = cordons.dump({A: Cordon("fans", "2026-01-01T00:00:00Z")})
    one = node("n1", dataclasses.replace(gpu(A, 0), foreign=MiB(2048)), gpu(B, 1))
    one.metadata["annotations"][names.ANNOTATION_CORDONED] = cordoned
    seen = view.view([one], [])
    lines = [line.strip() for line in tree(seen)]
    assert "! cordoned since 2026-01-01T00:00:00Z: fans: it takes no new pods" in lines
    assert "! 2 GiB in use without a grant" in lines
    assert [one.free for one in seen.nodes[0].gpus] == [0, gpu(B, 1).memory]
    (first, _) = document.document(seen)["nodes"][0]["gpuList"]
    assert first["cordon"] == {"reason": "fans", "since": "2026-01-01T00:00:00Z"}
    assert first["foreign"] == 2048


def test_cordons_that_cannot_be_read_are_said() -> None:
    one = node("n1", gpu(A, 0))
    one.metadata["annotations"][names.ANNOTATION_CORDONED] = "?"
    assert view.view([one], []).nodes[0].problem.endswith("nothing new is placed on the node")
