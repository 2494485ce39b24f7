"""What containers must read is labelled where SELinux is on."""

import errno
import os
from pathlib import Path

import pytest

from deviceplugin.node import libvgpu_install
from deviceplugin.store import selinux
from unigpu import names

LABEL = "system_u:object_r:container_file_t:s0"
needs_attributes = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets security attributes")


def labels(folder: Path) -> dict[str, str]:
    found = {}
    for path in (folder, *folder.rglob("*")):
        try:
            found[str(path.relative_to(folder))] = os.getxattr(path, "security.selinux").rstrip(b"\0").decode()
        except OSError as error:
            assert error.errno == errno.ENODATA
    return found


@pytest.fixture
def enabled(tmp_path: Path) -> Path:
    (tmp_path / "enforce").write_text("1")
    return tmp_path / "enforce"


@needs_attributes
def test_everything_that_containers_mount(tmp_path: Path, enabled: Path) -> None:
    image, lib, containers = tmp_path / "libvgpu.so", tmp_path / "lib", tmp_path / "containers"
    image.write_bytes(b"libvgpu")
    libvgpu_install.install(image, lib)
    (containers / "uid/main").mkdir(parents=True)
    for name in ("policy", "usage", "grant.json"):
        (containers / "uid/main" / name).touch()
    (containers / "elsewhere").symlink_to("/etc/hostname")
    assert selinux.label([lib, containers], LABEL, enabled) == ""
    assert set(labels(lib).values()) == {LABEL}
    assert len(labels(lib)) == len([lib, *lib.rglob("*")])
    assert labels(containers).keys() >= {".", "uid", "uid/main", "uid/main/policy", "uid/main/usage"}
    assert "elsewhere" not in labels(containers)


@needs_attributes
def test_folders_are_made_so_that_later_files_take_their_label(tmp_path: Path, enabled: Path) -> None:
    assert selinux.label([tmp_path / "new/folder"], LABEL, enabled) == ""
    assert labels(tmp_path / "new/folder") == {".": LABEL}


def test_nothing_without_selinux_or_without_a_label(tmp_path: Path, enabled: Path) -> None:
    assert selinux.label([tmp_path / "a"], LABEL, tmp_path / "absent") == ""
    assert selinux.label([tmp_path / "a"], "", enabled) == ""
    assert not (tmp_path / "a").exists()


def test_a_refusal_is_said_with_what_to_do(tmp_path: Path, enabled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "setxattr", refuse)
    said = selinux.label([tmp_path / "lib"], LABEL, enabled)
    assert said.startswith(f"can't label {tmp_path}/lib {LABEL} for SELinux, so that containers may not load libvgpu: ")
    assert "Permission denied; accepted: " in said
    assert names.IMAGE_LIBRARY not in said
