"""The command line."""

from pathlib import Path

import pytest

from deviceplugin import settings
from unigpu import errors, names


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
        ([], "NODE_NAME"),
        (["--node", "a", "--shares-per-gpu", "0"], "--shares-per-gpu is 0"),
        (["--node", "a", "--simulator-dir", "/s"], "go together"),
        (["--node", "a", "--state-dir", "relative"], "--state-dir is relative"),
        (["--node", "a", "--kubelet-poll", "0"], "--kubelet-poll is 0"),
    ],
)
def test_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(errors.Malformed, match=says):
        settings.parse(arguments, {})
