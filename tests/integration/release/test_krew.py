"""The plugin for krew: its manifest, and the program that krew links to."""

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from release import krew, run, source

ROOT = Path(__file__).parents[3]
HERE = source.Source(ROOT, "0.1.0", "0" * 40, 1_700_000_000)
WHEEL = "kubectl_unigpu-0.1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of the plugin's name, without dependencies, whose program prints its arguments."""
    made = tmp_path / WHEEL
    info = "kubectl_unigpu-0.1.0.dist-info"
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("kubectl_unigpu.py", "import sys\n\n\ndef main():\n    print(*sys.argv[1:])\n")
        out.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: kubectl-unigpu\nVersion: 0.1.0\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/entry_points.txt", "[console_scripts]\nkubectl-unigpu = kubectl_unigpu:main\n")
        out.writestr(f"{info}/RECORD", "")
    return made


@pytest.fixture
def packed(wheel: Path, tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return krew.pack(HERE, wheel, tmp_path, tmp_path / "out")


def test_the_manifest_names_the_archive_with_its_digest(packed: Path) -> None:
    manifest = yaml.safe_load((packed.parent / "unigpu.yaml").read_text())
    assert manifest["metadata"]["name"] == "unigpu" and manifest["spec"]["version"] == "v0.1.0"
    (platform,) = manifest["spec"]["platforms"]
    assert platform["uri"].endswith(f"/v0.1.0/{packed.name}")
    (packed.parent / "sum").write_text(f"{platform['sha256']}  {packed.name}\n")
    run.run(["sha256sum", "--check", "--strict", "sum"], packed.parent)
    with tarfile.open(packed) as tar:
        assert {platform["bin"], "LICENSE", WHEEL} == set(tar.getnames())
        assert tar.getmember(platform["bin"]).mode == 0o755


def test_the_first_start_installs_the_wheel_and_each_runs_it(packed: Path, tmp_path: Path) -> None:
    """Through a link, as krew makes it, and without an index."""
    store, link = tmp_path / "store", tmp_path / "bin" / "kubectl-unigpu"
    with tarfile.open(packed) as tar:
        tar.extractall(store, filter="data")
    link.parent.mkdir()
    link.symlink_to(store / "kubectl-unigpu")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    first, second = (
        subprocess.run([link, "status", "-n", "a b"], env=environment, capture_output=True, text=True) for _ in range(2)
    )
    assert (first.returncode, first.stdout) == (second.returncode, second.stdout) == (0, "status -n a b\n"), (
        first.stderr
    )
    assert "first start" in first.stderr and second.stderr == ""


def test_packages_that_cannot_be_had_are_one_sentence(packed: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with tarfile.open(packed) as tar:
        tar.extractall(store, filter="data")
    (store / WHEEL).write_bytes(b"not a wheel")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    done = subprocess.run([store / "kubectl-unigpu"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "kubectl unigpu: no packages; make pip use an index that has them, for example by PIP_INDEX_URL"
    )
    assert list((tmp_path / "cache" / "kubectl-unigpu").iterdir()) == []
