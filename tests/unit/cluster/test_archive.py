"""Images that are written without a builder."""

import hashlib
import json
import tarfile
from pathlib import Path

from cluster import archive


def test_the_archive_says_what_is_in_it_and_is_the_same_each_time(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    entries = [archive.Entry("bin"), archive.Entry("bin/p", source=program), archive.Entry("bin/q", link="p")]
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    archive.write(first, "localhost/x:1", entries, ["/bin/p"])
    archive.write(second, "localhost/x:1", entries, ["/bin/p"])
    assert first.read_bytes() == second.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"program", "1.tar", "2.tar"}

    with tarfile.open(first) as outer:

        def read(name: str) -> bytes:
            member = outer.extractfile(name)
            assert member is not None
            return member.read()

        (manifest,) = json.loads(read("manifest.json"))
        assert manifest["RepoTags"] == ["localhost/x:1"]
        config = json.loads(read(manifest["Config"]))
        assert config["config"]["Entrypoint"] == ["/bin/p"]
        layer = read(manifest["Layers"][0])
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
        assert len(config["history"]) == 1
        (tmp_path / "layer.tar").write_bytes(layer)
    with tarfile.open(tmp_path / "layer.tar") as inner:
        assert inner.getnames() == ["bin", "bin/p", "bin/q"]
        assert inner.getmember("bin/q").linkname == "p"
        assert inner.getmember("bin/p").mode == 0o755
