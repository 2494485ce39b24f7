"""Container runtimes that ignore CDI devices are recognised."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from deviceplugin.node import runtime_check
from deviceplugin.node.runtime_check import RuntimeCheck


@pytest.mark.parametrize(
    ("runtime", "options", "says"),
    [
        ("containerd://1.6.20~ds1", [], "containerd 1.6.20~ds1 knows no CDI devices"),
        ("containerd://1.6.20", [True], "knows no CDI devices"),
        ("containerd://1.7.27", [], ""),
        ("containerd://1.7.27", [None], "containerd 1.7.27 ignores CDI devices"),
        ("containerd://1.7.27", [False], "ignores CDI devices"),
        ("containerd://1.7.27", [False, True], ""),
        ("containerd://2.1.4-k3s1", [], ""),
        ("containerd://v2.4.2", [None], ""),
        ("containerd://2.0.0", [False], "enable_cdi is off"),
        ("containerd://10.0.0", [], ""),
        ("cri-o://1.27.1", [], "cri-o 1.27.1 knows no CDI devices"),
        ("cri-o://1.33.0", [False], ""),
        ("docker://24.0.7", [], ""),
        ("containerd://unknown", [], ""),
        ("", [], ""),
    ],
)
def test_runtimes(runtime: str, options: Sequence[bool | None], says: str) -> None:
    found = runtime_check.problem(runtime, options)
    assert says in found
    assert bool(found) is bool(says)
    assert not found or "; accepted: containerd 1.7 with enable_cdi = true" in found


ON = '[plugins."io.containerd.grpc.v1.cri"]\nenable_cdi = true\n'
OFF = "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\nenable_cdi = false\n"


def check(root: Path, runtime: str) -> str:
    one = RuntimeCheck(root)
    one.runtime = runtime
    return one.problem()


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_configurations_are_read(tmp_path: Path) -> None:
    main = "etc/containerd/config.toml"
    assert not check(tmp_path, "containerd://1.7.27"), "nothing is known without a configuration"
    put(tmp_path, main, "version = 2\n")
    assert "ignores CDI" in check(tmp_path, "containerd://1.7.27")
    assert not check(tmp_path, "containerd://2.1.0")
    put(tmp_path, main, ON)
    assert not check(tmp_path, "containerd://1.7.27")
    put(tmp_path, main, OFF)
    assert "ignores CDI" in check(tmp_path, "containerd://2.1.0")
    put(tmp_path, "var/lib/rancher/k3s/agent/etc/containerd/config.toml", ON)
    assert not check(tmp_path, "containerd://1.7.27"), "one of several may be the runtime's"


@pytest.mark.parametrize("pattern", ["/etc/containerd/conf.d/*.toml", "conf.d/*.toml"])
def test_imported_configurations_are_read(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "etc/containerd/config.toml", f'imports = ["{pattern}"]\n')
    put(tmp_path, "etc/containerd/conf.d/99-nvidia.toml", ON)
    assert not check(tmp_path, "containerd://1.7.27")
    put(tmp_path, "etc/containerd/conf.d/99-nvidia.toml", "")
    assert "ignores CDI" in check(tmp_path, "containerd://1.7.27")


@pytest.mark.parametrize(
    "text",
    ["[", "imports = 3", 'imports = ["\\u0000*", "a/../../*", 5]', "plugins = 1", 'plugins."x" = 1', "a=" + "[" * 9000],
)
def test_what_cant_be_understood_says_nothing(tmp_path: Path, text: str) -> None:
    put(tmp_path, "etc/containerd/config.toml", text)
    assert not check(tmp_path, "containerd://2.1.0")


def test_an_agent_that_sees_no_files_goes_by_the_version() -> None:
    one = RuntimeCheck(None)
    assert one.problem() == ""
    one.runtime = "containerd://1.6.1"
    assert "knows no CDI" in one.problem()
