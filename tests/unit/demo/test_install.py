"""Helm, and what it left behind when it was killed: programs that answer as helm and kubectl do."""

from pathlib import Path

import pytest

from demo import install
from demo.kube import CommandFailed, Kube

IMAGES = {"services": "registry.example:5000/gpu/unigpu:1", "scheduler": "kube-scheduler:2"}


def script(path: Path, text: str) -> str:
    path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {path.parent}/asked\n{text}\n')
    path.chmod(0o755)
    return str(path)


def pending_until_forgotten(folder: Path) -> Kube:
    """A cluster whose helm says that an operation is in progress, until its record is deleted."""
    helm = (
        f"[ -e {folder}/forgotten ] && exit 0\n"
        "echo 'Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress' >&2; exit 1"
    )
    kubectl = f"[ $1 = delete ] && touch {folder}/forgotten; exit 0"
    return Kube(folder / "config", script(folder / "kubectl", kubectl), script(folder / "helm", helm))


def test_a_helm_that_was_killed_does_not_block_the_next(tmp_path: Path) -> None:
    install.install(pending_until_forgotten(tmp_path), IMAGES, simulated=True)
    first, forgotten, second = (tmp_path / "asked").read_text().splitlines()
    assert first == second
    assert "--force-conflicts" in first, "nor does what a killed test had set with kubectl"
    assert "status in (pending-install,pending-upgrade,pending-rollback)" in forgotten


def test_on_a_cluster_of_others_nothing_is_forgotten(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="helm rollback unigpu"):
        install.install(pending_until_forgotten(tmp_path), IMAGES, simulated=False, alone=False)
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert "--reset-then-reuse-values" in asked
    assert "--force-conflicts" not in asked


def test_a_container_that_has_no_log_yet_hides_nothing(tmp_path: Path) -> None:
    pod = '{"metadata":{"name":"agent"},"status":{"containerStatuses":[{"name":"main","ready":false}]}}'
    kubectl = (
        "[ $1 = logs ] && { echo 'waiting to start: ContainerCreating' >&2; exit 1; }\n"
        f'case "$*" in *json*) echo \'{{"items":[{pod}]}}\';; esac'
    )
    helm = "echo 'Error: context deadline exceeded' >&2; exit 1"
    kube = Kube(tmp_path / "config", script(tmp_path / "kubectl", kubectl), script(tmp_path / "helm", helm))
    with pytest.raises(CommandFailed) as caught:
        install.install(kube, IMAGES, simulated=True)
    assert "context deadline exceeded" in str(caught.value)
    assert "waiting to start" in str(caught.value)


@pytest.mark.parametrize(
    ("image", "values"),
    [
        ("unigpu:0123", {"repository": "unigpu", "tag": "0123"}),
        ("team/unigpu:1", {"registry": "team", "repository": "unigpu", "tag": "1"}),
        (
            "registry.example:5000/gpu/unigpu",
            {"registry": "registry.example:5000/gpu", "repository": "unigpu", "tag": "latest"},
        ),
        (
            "r.example/unigpu:1@sha256:ab",
            {"registry": "r.example", "repository": "unigpu", "tag": "1", "digest": "sha256:ab"},
        ),
    ],
)
def test_the_name_of_an_image_as_the_chart_takes_it(image: str, values: dict[str, str]) -> None:
    assert install.reference(image) == values
