"""What `make demo` says before it changes anything."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster import doctor, settings
from demo import preflight

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def existing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of a cluster of the user's own, and kubectl and helm on the PATH."""
    for name in ("kubectl", "helm"):
        script(tmp_path / "bin" / name, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "config").write_text("{}")
    return {
        "KUBECONFIG": str(tmp_path / "config"),
        "IMAGE": "registry.example/unigpu:1",
        "PROBE_IMAGE": "registry.example/probe:1",
        "SCHEDULER_IMAGE": "registry.example/kube-scheduler:v1.33.4",
    }


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_without_kubeconfig_a_local_cluster_is_meant() -> None:
    plan = preflight.plan({})
    assert not plan.existing
    assert plan.driver == "simulated"


def test_the_local_clusters_own_kubeconfig_means_the_local_cluster() -> None:
    own = settings.Layout(settings.DEFAULT_NAME).published_kubeconfig
    assert not preflight.plan({"KUBECONFIG": str(own)}).existing


def test_a_cluster_of_the_users_own(existing: dict[str, str]) -> None:
    plan = preflight.plan(existing)
    assert plan.existing
    assert plan.driver == "nvidia"
    assert plan.images["scheduler"] == "registry.example/kube-scheduler:v1.33.4"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"KUBECONFIG": "/no/such/file"}, "KUBECONFIG = /no/such/file: not a file; accepted:"),
        (
            {"IMAGE": "", "PROBE_IMAGE": ""},
            "so set IMAGE, PROBE_IMAGE to images that it can pull (see docs/install.md)",
        ),
        ({"DRIVER": "nonsense"}, "DRIVER = nonsense: unknown driver; accepted: nvidia, simulated"),
        ({"KUBECONFIG": "", "DRIVER": "nonsense"}, "DRIVER = nonsense"),
        ({"KUBECONFIG": ""}, "IMAGE, PROBE_IMAGE, SCHEDULER_IMAGE only apply to your own cluster"),
    ],
)
def test_what_can_not_be_meant_is_said(existing: dict[str, str], change: Mapping[str, str], sentence: str) -> None:
    with pytest.raises(preflight.PreflightError) as caught:
        preflight.plan({**existing, **change})
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("kubectl", "sentence"),
    [
        (
            "echo 'The connection to the server was refused' >&2; exit 1",
            "can't be reached: The connection to the server",
        ),
        ("echo no; exit 1", "may not create cluster roles"),
    ],
)
def test_a_cluster_that_can_not_be_used_is_named(existing: dict[str, str], kubectl: str, sentence: str) -> None:
    plan = preflight.plan(existing)
    script(Path(plan.kubectl), kubectl)
    with pytest.raises(preflight.PreflightError) as caught:
        preflight.require(plan, build=False)
    assert sentence in str(caught.value)
    assert existing["KUBECONFIG"] in str(caught.value)


def test_a_cluster_that_answers_is_enough(existing: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No root, no compiler and no Go are asked for."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("CC", "no-such-compiler")
    preflight.require(preflight.plan(existing), build=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone as far as `make demo` reads it before it makes anything."""
    folder = tmp_path / "checkout"
    for package in ("cluster", "demo"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def demo(checkout: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What `make demo` runs, in a checkout; fails the test if that wrote anything."""
    before = sorted(checkout.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-B", "-m", "demo"],
        cwd=checkout,
        env={**{name: value for name, value in os.environ.items() if name != "KUBECONFIG"}, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sorted(checkout.rglob("*")) == before
    assert "Traceback" not in done.stderr
    return done


def test_without_go_nothing_is_made(checkout: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert demo(checkout).stderr.startswith("The local cluster needs root")
        return
    script(tmp_path / "tools" / "go", "echo go version go1.19.8 linux/amd64")
    done = demo(checkout, PATH=f"{tmp_path / 'tools'}:/usr/sbin:/usr/bin:/sbin:/bin")
    assert done.returncode == 1
    assert "Go is too old (go version go1.19.8 linux/amd64)" in done.stderr


def test_a_driver_without_a_cluster_is_refused(checkout: Path) -> None:
    done = demo(checkout, DRIVER="simulated")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("DRIVER only applies to your own cluster")


def test_an_old_python_is_told_so(checkout: Path) -> None:
    """By the first file that is read, whatever the others' syntax."""
    program = (
        "import sys; sys.version_info = (3, 9, 18, 'final', 0); sys.version = '3.9.18 (main)'\n"
        "import runpy; runpy.run_module('demo', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", program], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "python3 on the PATH is Python 3.9.18; accepted: 3.11 or later.\n"


def test_disk_and_rights_are_looked_at_without_making_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert not any("read-only" in problem for problem in doctor.disk_problems(folder))
    assert not folder.parent.exists()
    (sentence,) = doctor.disk_problems(Path("/proc/1/build"))
    assert "is read-only for this user" in sentence


def test_a_compiler_without_its_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin" / "halfcc", "echo '<stdin>:1:10: fatal error: stdio.h: No such file' >&2; exit 1")
    monkeypatch.setenv("CC", str(tmp_path / "bin" / "halfcc"))
    (sentence,) = doctor.compiler_problems()
    assert "stdio.h" in sentence
    assert "libc6-dev" in sentence
