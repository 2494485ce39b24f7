"""Each problem of the machine is reported as one sentence, before anything is changed."""

import collections
import ipaddress
import os
import shutil
from pathlib import Path

import pytest

from cluster import build, cgroups, doctor, errors, network, settings


def test_a_missing_package_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = doctor.Package("runc", "no-such-program", "containerd starts every container with it")
    monkeypatch.setattr(doctor, "PACKAGES", (absent,))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (sentence,) = [entry for entry in doctor.run_problems(settings.Settings(gpus=0)) if "Debian" in entry]
    assert "runc: containerd starts every container with it" in sentence
    assert "apt-get install runc" in sentence


def test_without_root_that_is_all_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (sentence,) = doctor.run_problems(settings.Settings())
    assert "root" in sentence


def test_too_little_room_says_how_much_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 9, 1))
    assert any("only 0.0 GiB free: free up" in entry for entry in doctor.build_problems())


def test_an_old_go_and_no_compiler_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    problems = "\n".join(doctor.build_problems())
    assert "Go is too old (go version go1.19.8 linux/amd64): install Go 1.26 or later." in problems
    assert "'no-such-compiler'" in problems


def test_without_control_groups_it_says_so(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 8:1 / / rw - ext4 /dev/root rw\n")
    with pytest.raises(errors.PreflightError, match="control groups"):
        cgroups.hierarchies(mounts)


def test_both_versions_of_control_groups_are_found(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:27 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids\n"
        "32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert cgroups.hierarchies(mounts) == [
        (Path("/sys/fs/cgroup/pids"), "cgroup"),
        (Path("/sys/fs/cgroup/unified"), "cgroup2"),
    ]


def test_versions_come_from_the_go_modules() -> None:
    assert build.required("kubernetes", "k8s.io/kubernetes").startswith("v1.")
    assert build.required("containerd", "github.com/containerd/containerd/v2").startswith("v2.")
    for older in settings.OLDER_KUBERNETES:
        assert build.required(f"kubernetes-{older}", "k8s.io/kubernetes").startswith(f"v{older}.")
    with pytest.raises(errors.BuildFailed, match="does not require"):
        build.required("containerd", "example.org/nothing")


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, *caches: Path) -> None:
    """Put a Go on the PATH whose caches are in these folders."""
    go = folder / "go"
    lines = "".join(f"echo {cache}; " for cache in caches)
    go.write_text(f"#!/bin/sh\ncase $1 in version) echo go version go1.26.0 linux/amd64;; env) {lines};; esac\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_full_disk_with_gos_caches_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10 << 30, 9 << 30, 1 << 30))
    fake_go(tmp_path, monkeypatch, tmp_path / "build-cache", tmp_path / "modules")
    problems = [entry for entry in doctor.build_problems() if "cache" in entry]
    assert [entry.partition("set ")[2].split()[0] for entry in problems] == ["GOCACHE", "GOMODCACHE"]
    (tmp_path / "build-cache").mkdir()
    (tmp_path / "build-cache" / "entry").touch()
    (problem,) = [entry for entry in doctor.build_problems() if "cache" in entry]
    assert "GOMODCACHE" in problem, "a cache that is filled already needs no more room"


def test_a_machine_without_go_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Go is not installed: install Go 1.26 or later, and put it on the PATH." in doctor.build_problems()


def test_programs_that_are_not_built_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BIN", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "pause").touch()
    (sentence,) = [entry for entry in doctor.run_problems(settings.Settings(gpus=0)) if "not built" in entry]
    assert sentence == "These programs are not built yet: kubernetes, containerd. Run `make cluster`."


def test_an_older_kubernetes_that_is_not_built_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    wanted = settings.Settings(gpus=0, kubernetes="1.29")
    (sentence,) = [entry for entry in doctor.run_problems(wanted) if "1.29" in entry]
    assert sentence == "Kubernetes 1.29 is not built yet: run `make cluster KUBERNETES=1.29`."


def test_a_kernel_that_refuses_namespaces_is_reported_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [(Path("/"), "cgroup2")])
    monkeypatch.setattr(doctor, "_try_namespaces", lambda: "unshare: Operation not permitted")
    assert any("refuses new namespaces and mounts (unshare: Operation" in entry for entry in doctor.kernel_problems())


def test_read_only_control_groups_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [(tmp_path, "cgroup2")])
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(doctor, "_try_namespaces", lambda: "")
    assert any(entry.startswith(f"Control groups are read-only ({tmp_path})") for entry in doctor.kernel_problems())


@pytest.mark.parametrize("left", ["bridge", "control group"])
def test_a_cluster_whose_folder_was_deleted_must_be_stopped_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    monkeypatch.setattr(network, "exists", lambda _name: left == "bridge")
    monkeypatch.setattr(cgroups, "exists", lambda _layout: left == "control group")
    (sentence,) = doctor.network_problems(settings.Settings(name="gone"))
    assert "make down NAME=gone" in sentence


def test_a_running_cluster_has_its_network_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    layout = settings.Layout("x")
    layout.home.mkdir(parents=True)
    layout.state.touch()
    assert doctor.network_problems(settings.Settings(name="x")) == []


def test_a_machine_without_a_free_subnet_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    monkeypatch.setattr(network, "exists", lambda _name: False)
    monkeypatch.setattr(cgroups, "exists", lambda _layout: False)
    monkeypatch.setattr(network, "taken_subnets", lambda: [ipaddress.IPv4Network("10.0.0.0/8")])
    (sentence,) = doctor.network_problems(settings.Settings(name="x"))
    assert "No /16 subnet" in sentence


def test_all_problems_are_raised_at_once() -> None:
    doctor.raise_for([])
    with pytest.raises(errors.PreflightError, match=r"^one\ntwo$"):
        doctor.raise_for(["one", "two"])
