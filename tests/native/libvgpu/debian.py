"""Packages of Debian's non-free part, fetched with apt-get and its own configuration: the system's stays as it is."""

import re
import subprocess
from pathlib import Path

SYSTEM = Path("/etc/apt")


def _sources() -> str:
    """The system's own sources, with `non-free` in place of their components."""
    found = []
    for file in sorted(SYSTEM.glob("sources.list.d/*.sources")):
        text = file.read_text()
        if "debian-archive-keyring" in text:
            found.append(re.sub(r"^Components:.*$", "Components: non-free", text, flags=re.MULTILINE))
    if found:
        return "\n\n".join(found)
    lines = [
        file.read_text() for file in (SYSTEM / "sources.list", *SYSTEM.glob("sources.list.d/*.list")) if file.exists()
    ]
    classic = re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+main\b", "\n".join(lines), re.MULTILINE)
    return "\n\n".join(f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: non-free" for uri, suite in classic)


def fetch(package: str, folder: Path) -> Path:
    """Downloads and unpacks the package once; returns the folder of its files."""
    files = folder / package
    if files.exists():
        return files
    parts, lists, cache, fresh = (folder / name for name in ("parts", "lists", "cache", f"{package}.new"))
    for made in (parts, lists / "partial", cache / "archives/partial", fresh):
        made.mkdir(parents=True, exist_ok=True)
    (parts / "non-free.sources").write_text(_sources())
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State::Lists": lists,
        "Dir::Cache": cache,
        "APT::Sandbox::User": "root",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    for command in (["update"], ["download", package]):
        subprocess.run(["apt-get", "-q", *words, *command], cwd=fresh, check=True, capture_output=True)
    (archive,) = fresh.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", archive, fresh], check=True)
    fresh.rename(files)
    return files
