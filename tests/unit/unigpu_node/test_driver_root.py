"""Where the driver's libraries are found under a root that is mounted elsewhere."""

from pathlib import Path, PurePosixPath

import pytest

from tests.unit.unigpu.test_linker_cache import cache
from unigpu import errors
from unigpu_node import driver_root
from unigpu_node.driver_root import NVML, DriverRoot


def find(host: Path, root: str = "/") -> Path:
    return driver_root.nvml(host, PurePosixPath(root), None)


@pytest.mark.parametrize("folder", driver_root.FOLDERS)
def test_a_plain_file(tmp_path: Path, folder: str) -> None:
    there = tmp_path / folder / NVML
    there.parent.mkdir(parents=True)
    there.touch()
    assert find(tmp_path) == there
    assert DriverRoot(tmp_path, PurePosixPath("/")).folder_of(NVML) == PurePosixPath("/") / folder


def test_links_are_followed_within_the_root(tmp_path: Path) -> None:
    root = tmp_path / "run/nvidia/driver"
    folder = root / "usr/lib/x86_64-linux-gnu"
    (folder / "nvidia").mkdir(parents=True)
    (root / "etc/alternatives").mkdir(parents=True)
    (folder / NVML).symlink_to("/etc/alternatives/nvml")
    (root / "etc/alternatives/nvml").symlink_to("../../usr/lib/x86_64-linux-gnu/nvidia/nvml.so.5")
    (folder / "nvidia/nvml.so.5").touch()
    assert find(tmp_path, "/run/nvidia/driver") == folder / "nvidia/nvml.so.5"


@pytest.mark.parametrize("at", ["/", "/run/nvidia/driver"])
def test_where_the_roots_own_linker_finds_it(tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    root = tmp_path / at.lstrip("/")
    there = root / "opt/odd/nvidia" / NVML
    there.parent.mkdir(parents=True)
    there.touch()
    (root / "etc").mkdir()
    (root / "etc/ld.so.cache").write_bytes(
        cache((0x0303, NVML, "/gone/x.so"), (0x0303, NVML, f"/opt/odd/nvidia/{NVML}"), (0x0303, NVML, "relative"))
    )
    (root / "usr/lib64").mkdir(parents=True)
    (root / "usr/lib64" / NVML).touch()
    assert find(tmp_path, at) == there
    there.unlink()
    assert find(tmp_path, at) == root / "usr/lib64" / NVML
    (root / "etc/ld.so.cache").write_bytes(b"damaged")
    assert find(tmp_path, at) == root / "usr/lib64" / NVML


def test_a_linked_folder_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib64").symlink_to("usr/lib")
    (tmp_path / "usr/lib" / NVML).touch()
    assert DriverRoot(tmp_path, PurePosixPath("/")).folder_of(NVML) == PurePosixPath("/usr/lib")


def test_a_link_out_of_the_root_stays_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "host/usr/lib"
    folder.mkdir(parents=True)
    (tmp_path / "secret").touch()
    (folder / NVML).symlink_to("../../../../../secret")
    with pytest.raises(errors.Unavailable):
        find(tmp_path / "host")


def test_links_in_a_circle_are_no_library(tmp_path: Path) -> None:
    first, last = tmp_path / driver_root.FOLDERS[0], tmp_path / driver_root.FOLDERS[-1]
    first.mkdir(parents=True)
    last.mkdir(exist_ok=True)
    (first / NVML).symlink_to(NVML)
    with pytest.raises(errors.Unavailable, match="is the driver installed"):
        find(tmp_path)
    with pytest.raises(errors.Unavailable, match="circle"):
        DriverRoot(tmp_path, PurePosixPath("/")).resolve(PurePosixPath("/") / driver_root.FOLDERS[0] / NVML)
    (last / NVML).touch()  # a circle in one folder hides no other
    assert find(tmp_path) == last / NVML


def test_the_simulator_comes_first(tmp_path: Path) -> None:
    assert driver_root.nvml(Path("/nowhere"), PurePosixPath("/"), tmp_path) == tmp_path / NVML
