"""The mounts of a node, and commands inside it: which system calls and command lines follow from the description."""

import fcntl
import os
from pathlib import Path

import pytest

from cluster import errors, linux, mounts, nsenter, processes, settings, state, units

Call = tuple[str, str, str, int, str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The mount(2) calls that would have been made."""
    made: list[Call] = []

    def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
        made.append((source, target, kind, flags, options))

    monkeypatch.setattr(linux, "mount", mount)
    return made


def test_the_hosts_mounts_are_detached_before_any_is_made(calls: list[Call]) -> None:
    mounts.setup_mounts([units.Mount("/run")])
    assert [(target, flags) for _, target, _, flags, _ in calls] == [
        ("/", linux.MS_REC | linux.MS_PRIVATE),
        ("/", linux.MS_REC | linux.MS_SHARED),
        ("/proc", 0),
        ("/run", 0),
    ]
    assert calls[-1] == ("tmpfs", "/run", "tmpfs", 0, "mode=755")


def test_an_overlay_adds_mount_points_and_stays_read_only(calls: list[Call]) -> None:
    mounts.place(units.Mount("/var/lib", overlay="/extra"))
    assert calls == [("overlay", "/var/lib", "overlay", linux.MS_RDONLY, "lowerdir=/extra:/var/lib")]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_bind_mount_gets_a_mount_point_of_its_kind(calls: list[Call], tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.mkdir() if kind == "folder" else source.touch()
    mounts.place(units.Mount(str(target), source=str(source), read_only=True))
    assert target.is_dir() == (kind == "folder")
    assert target.is_file() == (kind == "file")
    assert [flags for *_, flags, _ in calls] == [
        linux.MS_BIND | linux.MS_REC,
        linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY,
    ]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> settings.Layout:
    """A recorded cluster of one node, whose supervisor is this process."""
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    one = settings.Layout("x")
    state.save(one, state.State(settings.Settings(name="x"), "10.201.0.0/16", "ug-1", 6443, 23790, 23800))
    one.units.mkdir(parents=True)
    myself = processes.identify(os.getpid())
    assert myself is not None
    units.record(one.units / "x-1.supervisor", myself)
    return one


def test_a_command_enters_all_namespaces_of_its_node(layout: settings.Layout) -> None:
    command = nsenter.command(layout, 1, ["ps", "aux"])
    assert command[:3] == ["nsenter", "--target", str(os.getpid())]
    assert set(command[3:8]) == {"--mount", "--uts", "--ipc", "--net", "--pid"}
    assert command[8:] == ["--", "ps", "aux"]


@pytest.mark.parametrize("index", [0, 2])
def test_a_node_that_is_not_there_can_not_be_entered(layout: settings.Layout, index: int) -> None:
    with pytest.raises(errors.StepFailed, match=f"Node {index} of the cluster x is not running"):
        nsenter.command(layout, index, ["true"])


def test_a_cluster_that_was_never_started_can_not_be_entered(layout: settings.Layout) -> None:
    with pytest.raises(errors.StepFailed):
        nsenter.command(settings.Layout("other"), 1, ["true"])


def test_the_lock_keeps_a_second_process_out_until_it_is_left(layout: settings.Layout) -> None:
    with layout.lock.open("w") as other:
        with state.locked(layout), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
