"""NVIDIA's headers of the driver and of NVML, from their packages, fetched by pip and pinned by hash."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = {
    "nvidia-cuda-runtime": ("13.5.37", ("cuda.h", "cudaEGL.h", "cudaGL.h", "cudaVDPAU.h")),
    "nvidia-nvml-dev": ("13.5.37", ("nvml.h",)),
}
"""A later version may bring new names: the tests then say which of them have to be sorted."""

HASHES = {
    "nvidia-cuda-runtime": "sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d",
    "nvidia-nvml-dev": "sha256:7394fcbefa9ba537e8238cbb1caa4cd2db6bbfbff208d217a8a884947113ae6d",
}


def fetch(folder: Path) -> dict[str, str]:
    """The text of each header, by name; downloads the packages once."""
    done = folder / "-".join(version for version, _ in PACKAGES.values())
    if not done.exists():
        fresh = folder / "new"
        fresh.mkdir(parents=True, exist_ok=True)
        pinned = fresh / "requirements.txt"
        pinned.write_text(
            "".join(f"{name}=={version} --hash={HASHES[name]}\n" for name, (version, _) in PACKAGES.items())
        )
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
        ]
        platform = ["--platform", "manylinux2014_x86_64", "--only-binary", ":all:"]
        subprocess.run([*command, *platform, "--dest", fresh, "--requirement", pinned], check=True, capture_output=True)
        for wheel in fresh.glob("*.whl"):
            with zipfile.ZipFile(wheel) as content:
                for name in content.namelist():
                    if name.endswith(".h"):
                        (fresh / Path(name).name).write_bytes(content.read(name))
        fresh.rename(done)
    return {header: (done / header).read_text() for _, headers in PACKAGES.values() for header in headers}


def functions(headers: dict[str, str]) -> set[str]:
    """The exported names of all functions that the headers declare, also those of older versions at their ends."""
    found = set()
    for name, text in headers.items():
        exported = "DECLDIR" if name == "nvml.h" else "CUDAAPI"
        bare = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
        found |= set(re.findall(rf"\b{exported}\s+((?:cu|nvml)[A-Z]\w+)\s*\(", bare))
        # What `cuMemAlloc` means today is exported as `cuMemAlloc_v2`.
        for plain, later in re.findall(r"#define\s+((?:cu|nvml)[A-Z]\w+)\s+(?:__CUDA_API_PT[DS][SZ]\()?(\w+)", bare):
            found |= {later} if plain in found and later.startswith(plain) else set()
        found -= set(re.findall(r"static inline CUresult (\w+)", bare))
    return found
