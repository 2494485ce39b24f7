"""Which parts of the driver a container gets."""

import errno
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from deviceplugin.node import driver, driver_files
from unigpu import errors
from unigpu.driver_parts import Wanted
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

GPU = Gpu(GpuUuid("GPU-b"), 1, 3, "Test", MiB(1000))


def install(root: Path, driver_root: str = "", folder: str = "usr/lib/x86_64-linux-gnu") -> None:
    """A node with a driver as distributions lay it out, links included."""
    libraries = root / driver_root / folder
    libraries.mkdir(parents=True)
    for name in ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler"):
        (libraries / f"{name}.so.575.64").write_text(name)
        (libraries / f"{name}.so.1").symlink_to(f"{name}.so.575.64")
    (libraries / "libcuda.so").symlink_to("libcuda.so.1")
    (libraries / "libc.so.6").touch()
    (libraries / "libnvidia-glcore.so.575.64").touch()
    (root / driver_root / "usr/bin").mkdir(parents=True)
    (root / driver_root / "usr/bin/nvidia-smi").touch()
    (root / "dev").mkdir(exist_ok=True)
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (root / "dev" / name).touch()


@pytest.mark.parametrize(
    ("driver_root", "folder"),
    [("", "usr/lib/x86_64-linux-gnu"), ("", "usr/lib64"), ("run/nvidia/driver", "usr/lib/x86_64-linux-gnu")],
)
def test_real_driver(tmp_path: Path, driver_root: str, folder: str) -> None:
    install(tmp_path, driver_root, folder)
    real = driver.Real(tmp_path, PurePosixPath("/") / driver_root)
    common = real.common()
    mounts = {mount.container: mount.host for mount in common.mounts}
    at = str(PurePosixPath("/") / driver_root)
    host = str(PurePosixPath(at) / folder)
    for into in driver_files.CONTAINER_FOLDERS:
        for name in ("libcuda.so", "libcuda.so.1", "libcuda.so.575.64"):
            assert mounts[f"{into}/{name}"] == f"{host}/libcuda.so.575.64"
        assert mounts[f"{into}/libnvidia-ml.so.1"] == f"{host}/libnvidia-ml.so.575.64"
    assert mounts["/usr/bin/nvidia-smi"] == str(PurePosixPath(at) / "usr/bin/nvidia-smi")
    assert not [path for path in mounts if "libc.so" in path or "glcore" in path]
    assert [node.host for node in common.nodes] == ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    own = real.own([GPU], Wanted())
    assert [(node.container, node.host) for node in own.nodes] == [("/dev/nvidia3", "/dev/nvidia3")]
    assert own.mounts == ()
    assert not any(mount.writable for mount in common.mounts)
    assert real.nvml().read_text() == "libnvidia-ml"


def test_links_are_the_nodes_own(tmp_path: Path) -> None:
    """Debian's alternatives: absolute links, that must not be followed from the agent's own root."""
    install(tmp_path)
    libraries = tmp_path / "usr/lib/x86_64-linux-gnu"
    current = tmp_path / "usr/lib/nvidia/current"
    current.mkdir(parents=True)
    (libraries / "libcuda.so.575.64").rename(current / "libcuda.so.575.64")
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    (tmp_path / "etc/alternatives/libcuda").symlink_to("/usr/lib/nvidia/../nvidia/current/libcuda.so.575.64")
    (libraries / "libcuda.so.1").unlink()
    (libraries / "libcuda.so.1").symlink_to("/etc/alternatives/libcuda")
    mounts = {mount.container: mount.host for mount in driver.Real(tmp_path, PurePosixPath("/")).common().mounts}
    assert mounts["/usr/lib64/libcuda.so.1"] == "/usr/lib/nvidia/current/libcuda.so.575.64"
    assert mounts["/usr/lib64/libcuda.so"] == "/usr/lib/nvidia/current/libcuda.so.575.64"


def test_device_nodes_of_a_driver_container(tmp_path: Path) -> None:
    install(tmp_path, "run/nvidia/driver")
    (tmp_path / "dev/nvidia3").unlink()
    (tmp_path / "run/nvidia/driver/dev").mkdir()
    (tmp_path / "run/nvidia/driver/dev/nvidia3").touch()
    nodes = driver.Real(tmp_path, PurePosixPath("/run/nvidia/driver")).own([GPU], Wanted()).nodes
    assert (nodes[0].container, nodes[0].host) == ("/dev/nvidia3", "/run/nvidia/driver/dev/nvidia3")


@pytest.mark.parametrize("name", ["nvidiactl", "nvidia-uvm"])
def test_a_node_without_which_no_program_starts(tmp_path: Path, name: str) -> None:
    install(tmp_path)
    real = driver.Real(tmp_path, PurePosixPath("/"))
    assert real.problem() == ""
    (tmp_path / "dev" / name).unlink()
    assert real.problem().startswith(
        f"the node has no device node {name}, without which no CUDA program starts; accepted"
    )


def test_no_driver(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable, match=r"libcuda\.so\.1 isn't under /"):
        driver.Real(tmp_path, PurePosixPath("/")).common()


def test_no_device_node(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "dev/nvidia3").unlink()
    with pytest.raises(errors.Unavailable, match="nvidia3"):
        driver.Real(tmp_path, PurePosixPath("/")).own([GPU], Wanted())


def test_link_in_a_circle(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "usr/lib/x86_64-linux-gnu/libnvidia-nvvm.so.4").symlink_to("libnvidia-nvvm.so.4")
    with pytest.raises(errors.Unavailable, match="circle"):
        driver.Real(tmp_path, PurePosixPath("/")).common()


def test_simulated_driver_lacks_a_gpu(tmp_path: Path) -> None:
    for name in ("state", "libcuda.so.1", "libnvidia-ml.so.1"):
        (tmp_path / name).touch()
    with pytest.raises(errors.Unavailable, match="gpu3"):
        driver.Simulated(tmp_path, tmp_path).own([GPU], Wanted())


def test_folder_that_goes_while_it_is_read_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "usr/lib64"
    folder.mkdir(parents=True)
    (folder / "libcuda.so.1").touch()

    def gone(path: Path) -> Iterator[Path]:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "iterdir", gone)
    with pytest.raises(errors.Unavailable, match=f"^can't read {folder}: No such file or directory$"):
        driver.Real(tmp_path, PurePosixPath("/")).common()


@pytest.mark.parametrize(
    ("vendor", "kind", "needless"),
    [
        ("0x8086", "0x030000", True),  # another maker's GPU
        ("0x10de", "0x040300", True),  # the sound device of a GPU
        ("0x10de", "0x030200", False),
        ("0x10de", "0x030000", False),
        ("", "", True),
    ],
)
def test_a_node_without_gpus_needs_no_driver(tmp_path: Path, vendor: str, kind: str, needless: bool) -> None:
    device = tmp_path / "pci" / "0000:01:00.0"
    if vendor:
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    node = tmp_path / "node"
    real = driver.Real(node, PurePosixPath("/"), pci=tmp_path / "pci")
    assert real.needless() == needless
    install(node)
    assert not real.needless(), "a driver that is there should answer"


def test_simulated_gpus_are_wanted(tmp_path: Path) -> None:
    assert not driver.Simulated(tmp_path, tmp_path).needless()
