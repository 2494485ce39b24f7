"""Readings that a release depends on: versions of packages, of glibc, and what goes into a wheel."""

import sys
from pathlib import Path

import pytest

from release import base, bundle, images, native, python_packages, run, sbom, source, wheels
from release.errors import ReleaseError

ROOT = Path(__file__).parents[3]
HERE = source.Source(ROOT, "0.1.0", "0" * 40, 1_700_000_000)


def test_names_of_package_files_give_name_version_and_processor() -> None:
    found = base._packages("zlib1g_1%3a1.2.13.dfsg-1_amd64.deb\npartial\nmedia-types_10.0.0_all.deb\n")
    assert found == [base.Package("media-types", "10.0.0", "all"), base.Package("zlib1g", "1:1.2.13.dfsg-1", "amd64")]


def test_the_oldest_glibc_is_the_newest_version_that_a_library_needs() -> None:
    listing = "Version definition section\n GLIBC_2.99\nVersion needs section\n GLIBC_2.4\n GLIBC_2.34\n GLIBC_2.17\n"
    assert native._glibc(listing) == (2, 34)


def test_an_unknown_processor_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="riscv64: not known; accepted: amd64, arm64"):
        native.build(HERE, "riscv64", tmp_path)


def test_a_missing_program_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(ReleaseError, match="missing: no-such-program; on Debian, `apt-get install no-such-program`"):
        run.require("sh", "no-such-program")


def test_a_failed_program_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="status 3:\nno room"):
        run.run(["sh", "-c", "echo no room; exit 3"], tmp_path)


def test_every_pinned_package_is_read_from_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert len(python_packages.pinned(lock)) == sum(
        not line.startswith((" ", "#")) for line in lock.splitlines() if line
    )


def test_a_wheel_requires_what_its_code_imports() -> None:
    """A package that the command line begins to import has to be named for its wheel too."""
    known = {"yaml": "PyYAML", "prometheus_client": "prometheus-client", "kubernetes_asyncio": "kubernetes-asyncio"}
    imported = set()
    for folder in wheels.CLI_CODE:
        for file in (ROOT / folder).rglob("*.py"):
            for line in file.read_text().splitlines():
                words = line.split()
                if words[:1] in (["import"], ["from"]):
                    imported.add(words[1].split(".")[0])
    ours = {folder.split("/")[0] for folder in wheels.CLI_CODE}
    foreign = {one for one in imported if one not in ours and one not in sys.stdlib_module_names}
    assert {known.get(one, one) for one in foreign} == set(wheels.CLI_REQUIRES)


def test_requirements_of_a_wheel_have_no_upper_bound() -> None:
    assert all(">=" in one and "<" not in one and "==" not in one for one in wheels._oldest(HERE, wheels.CLI_REQUIRES))


def test_a_list_of_contents_names_each_package_once(tmp_path: Path) -> None:
    package = base.Package("zlib1g", "1:1.2", "amd64")
    content = images.Content([package], {"PyYAML": "6.0"})
    sbom.write(HERE, {"amd64": content, "arm64": content}, tmp_path / "list.json")
    text = (tmp_path / "list.json").read_text()
    assert text.count('"purl": "pkg:deb/debian/zlib1g@1%3A1.2?arch=amd64"') == 1
    assert text.count('"purl": "pkg:pypi/pyyaml@6.0"') == 1


def test_checksums_are_as_sha256sum_reads_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("content")
    bundle.checksums(tmp_path)
    run.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], tmp_path)
    (tmp_path / "sub" / "file").write_text("other")
    with pytest.raises(ReleaseError, match="sub/file: FAILED"):
        run.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], tmp_path)
