"""What a cluster remembers of itself on disk."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from cluster import errors, processes, settings, stamps, state, units

UNIT = units.Unit(
    name="n-1",
    programs=(units.Program("kubelet", ("/bin/kubelet", "--flag"), needs="/run/socket"),),
    logs="/logs",
    cgroups=("/sys/fs/cgroup/pids/x",),
    path="/bin",
    network=units.Network("br", "br-1", "10.0.0.2/24", "10.0.0.1", (("10.0.2.0/24", "10.0.0.3"),)),
    mounts=(units.Mount("/run"), units.Mount("/var/lib", overlay="/o"), units.Mount("/a", source="/b", read_only=True)),
)


@pytest.mark.parametrize("unit", [UNIT, dataclasses.replace(UNIT, network=None, mounts=())])
def test_a_unit_is_read_as_it_was_written(tmp_path: Path, unit: units.Unit) -> None:
    units.save(unit, tmp_path / "units" / "n-1.json")
    assert units.load(tmp_path / "units" / "n-1.json") == unit


def test_a_state_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUILD", tmp_path)
    layout = settings.Layout("x")
    known = state.State(settings.Settings(name="x", nodes=2), "10.201.0.0/16", "ug-1", 6443, 23790, 23800)
    assert state.load(layout) is None
    state.save(layout, known)
    assert state.load(layout) == known
    assert known.nodes == {"x-1": 1, "x-2": 2}


def test_a_process_is_known_by_number_and_start_so_a_reused_number_is_another(tmp_path: Path) -> None:
    myself = processes.identify(os.getpid())
    assert myself is not None
    assert processes.alive(myself)
    assert not processes.alive(dataclasses.replace(myself, started=myself.started - 1))
    units.record(tmp_path / "record", dataclasses.replace(myself, started=myself.started - 1))
    assert units.recorded(tmp_path / "record") is None


def test_ending_a_process_that_is_not_the_recorded_one_leaves_it_alone() -> None:
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        identity = processes.identify(sleeper.pid)
        assert identity is not None
        processes.end(dataclasses.replace(identity, started=identity.started + 1))
        assert sleeper.poll() is None
        processes.end(identity)
        assert sleeper.wait() < 0


def test_a_record_is_whole_or_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "record"
    units.write_whole(file, "one", mode=0o600)
    units.write_whole(file, "two", mode=0o600)
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_stamp_follows_content_and_not_time(tmp_path: Path) -> None:
    source, product = tmp_path / "source", tmp_path / "product"
    source.write_text("a")
    product.touch()
    before = stamps.digest([source], ["flag"])
    stamps.leave(tmp_path / "stamp", before)
    os.utime(source, (1, 1))
    assert stamps.current(tmp_path / "stamp", stamps.digest([source], ["flag"]), [product])
    assert stamps.digest([source], ["other"]) != before
    source.write_text("b")
    assert not stamps.current(tmp_path / "stamp", stamps.digest([source], ["flag"]), [product])
    product.unlink()
    assert not stamps.current(tmp_path / "stamp", before, [product])


@pytest.mark.parametrize(
    "wrong",
    [
        settings.Settings(name="Upper"),
        settings.Settings(name="a" * 21),
        settings.Settings(name="../up"),
        settings.Settings(nodes=0),
        settings.Settings(nodes=21),
        settings.Settings(gpus=-1),
        settings.Settings(kubernetes="1.28"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: settings.Settings) -> None:
    with pytest.raises(errors.PreflightError):
        wrong.check()
