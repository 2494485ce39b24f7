"""The command line."""

import dataclasses
from pathlib import Path

import pytest

from deviceplugin import settings
from unigpu import names
from unigpu_service.settings import docs


def test_defaults_are_the_names_paths() -> None:
    told = settings.parse([], {"NODE_NAME": "node-a"})
    assert told.node == "node-a"
    assert str(told.plugins) == names.KUBELET_PLUGINS
    assert str(told.checkpoint) == names.KUBELET_CHECKPOINT
    assert str(told.pod_resources) == names.KUBELET_POD_RESOURCES
    assert str(told.containers) == names.NODE_CONTAINERS
    assert str(told.libraries) == str(Path(names.NODE_LIBRARY).parent)


def test_other_folders() -> None:
    told = settings.parse(["--node", "b", "--kubelet-dir", "/k", "--state-dir", "/s"], {})
    assert told.pod_resources == Path("/k/pod-resources/kubelet.sock")
    assert told.checkpoint == Path("/k/device-plugins/kubelet_internal_checkpoint")
    assert told.containers == Path("/s/containers")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--node"),
        (["--node", "a", "--shares-per-gpu", "0"], "--shares-per-gpu: 0 is out of range"),
        (["--node", "a", "--simulator-dir", "/s"], "go together"),
        (["--node", "a", "--state-dir", "relative"], "--state-dir: 'relative' is a relative path"),
        (["--node", "a", "--kubelet-poll", "0"], "--kubelet-poll: 0 is out of range"),
    ],
)
def test_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        settings.parse(arguments, {})
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--help"], {})
    text = " ".join(capsys.readouterr().out.split())
    assert "default: /opt/unigpu/lib/libvgpu.so" in text
    for field in dataclasses.fields(settings.Settings):
        assert f"--{field.name.replace('_', '-')}" in text
    assert all(docs(settings.Settings).get(field.name) for field in dataclasses.fields(settings.Settings))
