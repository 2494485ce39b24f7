"""Where NVML is found under a node's root that is mounted elsewhere."""

from pathlib import Path

import pytest

from exporter import driver, settings
from unigpu import errors


def find(host: Path, root: str = "/") -> Path:
    return driver.library(settings.Settings(host_root=host, driver_root=Path(root)))


def test_a_plain_file(tmp_path: Path) -> None:
    there = tmp_path / "usr/lib64" / driver.LIBRARY
    there.parent.mkdir(parents=True)
    there.write_bytes(b"")
    assert find(tmp_path) == there


def test_links_are_followed_within_the_root(tmp_path: Path) -> None:
    root = tmp_path / "run/nvidia/driver"
    folder = root / "usr/lib/x86_64-linux-gnu"
    (folder / "nvidia").mkdir(parents=True)
    (root / "etc/alternatives").mkdir(parents=True)
    (folder / driver.LIBRARY).symlink_to("/etc/alternatives/nvml")
    (root / "etc/alternatives/nvml").symlink_to("../../usr/lib/x86_64-linux-gnu/nvidia/nvml.so.5")
    (folder / "nvidia/nvml.so.5").write_bytes(b"")
    assert find(tmp_path, "/run/nvidia/driver") == folder / "nvidia/nvml.so.5"


def test_a_link_out_of_the_root_stays_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "host/usr/lib"
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"")
    (folder / driver.LIBRARY).symlink_to("../../../../../secret")
    with pytest.raises(errors.Unavailable):
        find(tmp_path / "host")


def test_links_in_a_circle_are_no_library(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib"
    folder.mkdir(parents=True)
    (folder / driver.LIBRARY).symlink_to(driver.LIBRARY)
    with pytest.raises(errors.Unavailable, match="is it installed"):
        find(tmp_path)
