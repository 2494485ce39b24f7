"""Control groups of pods, as kubelets with either cgroup driver name them."""

from pathlib import Path

import pytest

from deviceplugin.node import control_groups
from deviceplugin.node.control_groups import ControlGroups
from unigpu.driver_limits import PodGroup
from unigpu_node.folder_watch import FolderWatch

UID, OTHER = "0a1b2c3d-1111-2222-3333-444455556666", "0a1b2c3d-1111-2222-3333-777788889999"
ID = "ab" * 32


@pytest.mark.parametrize(
    ("pod", "container"),
    [
        (f"kubepods/pod{UID}", ID),
        (f"kubepods/burstable/pod{UID}", ID),
        (f"node-1/kubelet/kubepods/besteffort/pod{UID}", ID),
        (
            f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice",
            f"cri-containerd-{ID}.scope",
        ),
        (f"kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID.replace('-', '_')}.slice", f"crio-{ID}.scope"),
    ],
)
def test_either_driver(tmp_path: Path, pod: str, container: str) -> None:
    folder = tmp_path / pod / container
    (folder / "made-by-the-container").mkdir(parents=True)
    (folder.parent / "crio-conmon").mkdir()
    (tmp_path / "system.slice" / f"docker-{ID}.scope").mkdir(parents=True)
    assert ControlGroups(tmp_path).read() == [PodGroup(UID, str(folder.parent), {ID: str(folder)})]


def test_a_container_makes_no_pods(tmp_path: Path) -> None:
    inside = tmp_path / "kubepods" / f"pod{UID}" / ID / "kubepods" / f"pod{OTHER}"
    inside.mkdir(parents=True)
    assert [group.uid for group in ControlGroups(tmp_path).read()] == [UID]


def test_a_kubelet_that_comes_later_is_found(tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 5.0, 20.0])
    groups = ControlGroups(tmp_path, lambda: next(times))
    assert groups.read() == []
    (tmp_path / "kubepods" / f"pod{UID}").mkdir(parents=True)
    assert [group.uid for group in groups.read()] == [UID]
    (tmp_path / "other" / "kubepods" / f"pod{OTHER}").mkdir(parents=True)
    assert [group.uid for group in groups.read()] == [UID]
    assert {group.uid for group in groups.read()} == {UID, OTHER}


def test_groups_are_read_again_only_when_one_comes_or_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pods = tmp_path / "kubepods.slice" / "kubepods-besteffort.slice"
    for number in range(50):
        (pods / f"pod{number:08d}-1111-2222-3333-444455556666" / ID).mkdir(parents=True)
    listed: list[str] = []
    folders = control_groups._folders

    def counted(path: str) -> list[str]:
        listed.append(path)
        return folders(path)

    monkeypatch.setattr(control_groups, "_folders", counted)
    watch = FolderWatch()
    groups = ControlGroups(tmp_path, lambda: 0.0, watch)
    before = groups.read()
    assert len(before) == 50
    listed.clear()
    assert groups.read() is before
    assert listed == []
    (pods / f"pod{UID}").mkdir()
    assert len(groups.read()) == 51
    (pods / f"pod{UID}" / ID).mkdir()
    assert [group.containers.keys() for group in groups.read() if group.uid == UID] == [{ID}]
    (pods / f"pod{UID}" / ID).rmdir()
    (pods / f"pod{UID}").rmdir()
    assert groups.read() == before
    watch.close()
    untold = ControlGroups(tmp_path, lambda: 0.0, watch)
    assert untold.read() == before
    listed.clear()
    assert untold.read() is not None
    assert listed, "who isn't told looks each time"


def test_only_version_2_counts_unless_a_stand_in_will_do(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    assert control_groups.hierarchy(tmp_path, stand_in=False) is None
    assert control_groups.hierarchy(tmp_path, stand_in=True) == tmp_path / "memory"
    (tmp_path / "cgroup.controllers").touch()
    assert control_groups.hierarchy(tmp_path, stand_in=False) == tmp_path
