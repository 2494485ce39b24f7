"""Each problem of the machine is reported as one sentence, before anything is changed."""

import collections
import shutil
from pathlib import Path

import pytest

from cluster import build, cgroups, doctor, errors, settings


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
    with pytest.raises(errors.BuildFailed, match="does not require"):
        build.required("containerd", "example.org/nothing")
