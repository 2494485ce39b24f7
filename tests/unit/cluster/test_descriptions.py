"""The units, configuration files and reports that follow from a cluster's settings, without starting anything."""

import base64
import dataclasses
import json
import os
import tomllib
from pathlib import Path

import pytest

from cluster import (
    build,
    certificates,
    cgroups,
    control_plane,
    kubeconfigs,
    network,
    node_config,
    nodes,
    processes,
    progress,
    settings,
    simulated,
    state,
    status,
    store,
    units,
)
from cluster.__main__ import main

KNOWN = state.State(settings.Settings(name="x", nodes=2, gpus=4), "10.201.0.0/16", "ug-1", 6443, 23790, 23800)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> settings.Layout:
    """A cluster with certificates, in a folder of its own; control groups and image store stay untouched."""
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    monkeypatch.setattr(cgroups, "make", lambda _layout, unit: (f"/groups/{unit}",))
    monkeypatch.setattr(store, "ROOT", tmp_path / "no-store")
    one = settings.Layout("x")
    certificates.make_all(one.certificates, ["kubernetes"], ["10.201.0.1"], {"x-1": "10.201.0.2", "x-2": "10.201.0.3"})
    return one


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command line from changing the test process's signal handlers."""
    monkeypatch.setattr("signal.signal", lambda *_: None)


def flags(unit: units.Unit, program: str) -> list[str]:
    (found,) = (entry for entry in unit.programs if entry.name == program)
    return list(found.arguments)


@pytest.mark.parametrize("version", ["", *settings.OLDER_KUBERNETES])
def test_kubernetes_is_of_the_wanted_version_and_the_rest_the_newest(layout: settings.Layout, version: str) -> None:
    known = dataclasses.replace(KNOWN, settings=dataclasses.replace(KNOWN.settings, kubernetes=version))
    units_of_it = (control_plane.describe(layout, known), nodes.describe(layout, known, "x-1"))
    folders = {entry.name: Path(entry.arguments[0]).parent for unit in units_of_it for entry in unit.programs}
    for shared in ("etcd", "containerd"):
        assert folders.pop(shared) == settings.BIN
    assert set(folders) == set(build.KUBERNETES_LINKS)
    assert set(folders.values()) == {settings.kubernetes_programs(version)}


def test_an_older_kubernetes_is_configured_with_what_it_knows() -> None:
    old = node_config.kubelet(Path("/c"), "x-1", "10.201.0.2", "/group", "1.29")
    new = node_config.kubelet(Path("/c"), "x-1", "10.201.0.2", "/group")
    assert new.keys() - old.keys() == {"failCgroupV1"}
    assert node_config.proxy(Path("/c"), "10.201.0.0/16", "1.29")["featureGates"] == {"NFTablesProxyMode": True}
    assert "featureGates" not in node_config.proxy(Path("/c"), "10.201.0.0/16", "1.32")


def test_the_control_plane_listens_only_where_nodes_reach_it(layout: settings.Layout) -> None:
    unit = control_plane.describe(layout, KNOWN)
    assert [program.name for program in unit.programs] == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ]
    assert "--listen-client-urls=https://127.0.0.1:23790" in flags(unit, "etcd")
    assert "--bind-address=10.201.0.1" in flags(unit, "kube-apiserver")
    assert "--service-cluster-ip-range=10.201.128.0/20" in flags(unit, "kube-apiserver")
    for program in ("kube-controller-manager", "kube-scheduler"):
        assert "--secure-port=0" in flags(unit, program)
    assert unit.network is None
    assert unit.cgroups == ("/groups/control-plane",)
    for identity in ("controller-manager", "scheduler"):
        assert (layout.home / "control-plane" / f"{identity}.kubeconfig").exists()


def test_a_node_has_its_own_folders_network_and_gpus(layout: settings.Layout) -> None:
    unit = nodes.describe(layout, KNOWN, "x-2")
    assert unit.network is not None
    assert unit.network.address == "10.201.0.3/24"
    assert unit.network.routes == (("10.201.1.0/24", "10.201.0.2"),), "to the pods of the other node"
    targets = {mount.target: mount for mount in unit.mounts}
    assert set(nodes.NODE_FOLDERS) < set(targets)
    assert all(Path(mount.source).is_dir() for mount in unit.mounts if mount.source and not mount.read_only)
    assert targets[nodes.SIMULATOR_LIBRARIES].read_only
    assert Path(targets[nodes.SIMULATOR_STATE].source) == nodes.simulator_folder(layout, "x-2")
    assert "--hostname-override=x-2" in flags(unit, "kubelet")
    config = layout.node("x-2") / "config"
    kubelet = json.loads((config / "kubelet.json").read_text())
    assert kubelet["cgroupRoot"] == cgroups.unit_group(layout, "x-2")
    assert json.loads((config / "proxy.json").read_text())["clusterCIDR"] == "10.201.0.0/16"
    (plugin,) = json.loads((config / "cni" / "10-pods.conflist").read_text())["plugins"]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.201.2.0/24"}]]
    assert tomllib.loads((config / "containerd.toml").read_text())["grpc"]["address"] == node_config.CONTAINERD_SOCKET


def test_a_node_without_gpus_has_no_simulator(layout: settings.Layout) -> None:
    plain = state.State(settings.Settings(name="x", gpus=0), "10.201.0.0/16", "ug-1", 6443, 23790, 23800)
    targets = [mount.target for mount in nodes.describe(layout, plain, "x-1").mounts]
    assert nodes.SIMULATOR_LIBRARIES not in targets
    assert "/usr/local" not in targets


def test_the_stores_containerd_has_no_kubernetes_interface(tmp_path: Path) -> None:
    config = tomllib.loads(node_config.containerd_store(tmp_path, tmp_path / "state", tmp_path / "socket"))
    assert config["root"] == str(tmp_path)
    assert "io.containerd.grpc.v1.cri" in config["disabled_plugins"]


def test_a_kubeconfig_holds_its_certificates_and_is_private(layout: settings.Layout) -> None:
    file = layout.home / "copy" / "kubeconfig"
    kubeconfigs.write(file, layout.certificates, "admin", KNOWN.server, "x")
    content = json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    assert content["clusters"][0]["cluster"]["server"] == "https://10.201.0.1:6443"
    held = base64.b64decode(content["users"][0]["user"]["client-certificate-data"])
    assert held == (layout.certificates / "admin.crt").read_bytes()


def test_a_cluster_that_was_never_started_is_reported(
    layout: settings.Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--name", "x"]) == 1
    assert capsys.readouterr().out == "There is no cluster x.\n"


def test_status_tells_running_units_from_those_that_died(layout: settings.Layout) -> None:
    state.save(layout, KNOWN)
    myself = processes.identify(os.getpid())
    assert myself is not None
    layout.units.mkdir(parents=True)
    for unit in ("control-plane", "x-1"):
        units.record(layout.units / f"{unit}.process", myself)
    lines, healthy = status.describe(layout)
    assert not healthy
    assert [line.partition(";")[0] for line in lines[1:]] == [
        f"  control-plane: running as process {os.getpid()}",
        f"  x-1: running as process {os.getpid()}",
        "  x-2: not running",
    ]
    units.record(layout.units / "x-2.process", myself)
    assert status.describe(layout)[1]


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "taken_subnets", list)
    monkeypatch.setattr(state, "_is_free", lambda port: port not in (6443, 6444))
    chosen = state.choose(settings.Settings(name="x"))
    assert (chosen.api_port, chosen.etcd_port, chosen.etcd_peer_port) == (6445, 23790, 23800)
    assert chosen.subnet == str(network.CANDIDATES[0])


def test_one_port_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "taken_subnets", list)
    monkeypatch.setattr(state, "_is_free", lambda port: not 6443 <= port < 23800)
    chosen = state.choose(settings.Settings(name="x"))
    assert len({chosen.api_port, chosen.etcd_port, chosen.etcd_peer_port}) == 3


def test_missing_parts_of_simulated_gpus_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SIMULATOR", tmp_path)
    assert "libcuda.so.1" in simulated.missing()
    for library in simulated.LIBRARIES:
        (tmp_path / library).touch()
    monkeypatch.setattr(simulated, "command", lambda: tmp_path / "unigpu-sim")
    assert "make setup" in simulated.missing()
    (tmp_path / "unigpu-sim").touch()
    assert simulated.missing() == ""


def test_a_step_reports_its_end_and_its_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.step("one"):
        pass
    with pytest.raises(ValueError), progress.step("two"):
        raise ValueError
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("one … ") and first.endswith(" s")
    assert second.startswith("two … failed after ")


@pytest.mark.parametrize(
    ("option", "accepted"),
    [(["--nodes", "0"], "1 to 20"), (["--gpus", "17"], "0 to 16"), (["--name", "A"], "lower-case")],
)
def test_refused_options_name_what_is_accepted(
    option: list[str], accepted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *option]) == 1
    refusal = capsys.readouterr().err
    assert refusal.startswith(f"{option[0]} = {option[1]}: ")
    assert accepted in refusal.partition("; accepted: ")[2]
