"""Build the wheels `kubectl-unigpu` and `unigpu-sim`.

Their code lies in one package each, named after the program: an installation brings no module with a general name, such
as `cli`, into an environment. The package puts its own folder first in the search path when it starts.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tomllib
from collections.abc import Sequence

from release.native import MACHINES, SIMULATOR, Built
from release.run import run
from release.source import Source

CLI_CODE = ("cli", "unigpu", "unigpu_kube", "webhook/translation")
CLI_REQUIRES = (
    "aiohttp",
    "cryptography",
    "jsonpatch",
    "kubernetes-asyncio",
    "msgspec",
    "orjson",
    "prometheus-client",
    "PyYAML",
)
"""Packages that the code above imports."""

_START = '''"""{about}"""

import sys
from pathlib import Path

_CODE = Path(__file__).parent / "code"


def main() -> int:
    """Run the program; return its exit status."""
    sys.path.insert(0, str(_CODE))
{prepare}    from {module}.__main__ import main as program

    return program()


if __name__ == "__main__":
    raise SystemExit(main())
'''

_PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"
description = "{about}"
readme = "README.md"
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = [{requires}]

[project.scripts]
{script} = "{package}:main"

[tool.setuptools]
packages = ["{package}"]

[tool.setuptools.package-data]
"{package}" = ["code/**/*", "lib/*"]
"""


def kubectl_unigpu(source: Source, scratch: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """Build the wheel of the command line, for every platform; return its path."""
    about = "kubectl plugin of unigpu: who has which GPU, limits of running pods, and what a manifest becomes"
    folder = scratch / "kubectl-unigpu"
    package = folder / "kubectl_unigpu"
    for code in CLI_CODE:
        shutil.copytree(source.folder / code, package / "code" / code)
    # The translation is the only part of the webhook that the command line uses.
    shutil.copy2(source.folder / "webhook" / "__init__.py", package / "code" / "webhook" / "__init__.py")
    readme = source.folder / "docs" / "reference" / "cli.md"
    requires = _oldest(source, CLI_REQUIRES)
    _write(source, folder, package, "kubectl-unigpu", about, readme, requires, "cli", "")
    return _wheel(source, folder, into, "")


def unigpu_sim(
    source: Source, built: Built, architecture: str, scratch: pathlib.Path, into: pathlib.Path
) -> pathlib.Path:
    """Build the wheel of the simulated driver, with its libraries for one processor; return its path."""
    about = "A simulated NVIDIA GPU driver: libcuda and NVML without a GPU"
    folder = scratch / f"unigpu-sim-{architecture}"
    package = folder / "unigpu_sim"
    shutil.copytree(source.folder / "simulator", package / "code" / "simulator", ignore=_only_python)
    (package / "lib").mkdir()
    for name in SIMULATOR:
        shutil.copy2(built.simulator / name, package / "lib" / name)
    prepare = '    os.environ.setdefault("UNIGPU_SIM_LIBRARIES", str(_CODE.parent / "lib"))\n'
    readme = source.folder / "docs" / "reference" / "simulator.md"
    _write(source, folder, package, "unigpu-sim", about, readme, (), "simulator", prepare)
    major, minor = built.glibc
    return _wheel(source, folder, into, f"manylinux_{major}_{minor}_{MACHINES[architecture]}")


def _only_python(folder: str, found: list[str]) -> list[str]:
    return [name for name in found if not name.endswith((".py", ".typed"))]


def _oldest(source: Source, packages: Sequence[str]) -> list[str]:
    """Return requirements without an upper bound: at least the minor version that the project is tested with."""
    project = tomllib.loads((source.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = {line.partition("==")[0]: line.partition("==")[2] for line in project["dependencies"]}
    return [f"{name}>={'.'.join(tested[name].split('.')[:2])}" for name in packages]


def _write(
    source: Source,
    folder: pathlib.Path,
    package: pathlib.Path,
    name: str,
    about: str,
    readme: pathlib.Path,
    requires: Sequence[str],
    module: str,
    prepare: str,
) -> None:
    """Write the project that the wheel is built from."""
    start = _START.format(about=about, module=module, prepare=prepare)
    if prepare:
        start = start.replace("import sys\n", "import os\nimport sys\n", 1)
    (package / "__init__.py").write_text(start, encoding="utf-8")
    (package / "__main__.py").write_text(
        f"from {package.name} import main\n\nraise SystemExit(main())\n", encoding="utf-8"
    )
    shutil.copy2(readme, folder / "README.md")
    shutil.copy2(source.folder / "LICENSE", folder / "LICENSE")
    project = _PROJECT.format(
        name=name,
        version=source.version,
        about=about,
        requires=", ".join(f'"{one}"' for one in requires),
        script=name,
        package=package.name,
    )
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")


def _wheel(source: Source, folder: pathlib.Path, into: pathlib.Path, platform: str) -> pathlib.Path:
    """Build the wheel; `platform` is its platform tag, none for every platform."""
    for path in folder.rglob("__pycache__"):
        shutil.rmtree(path)
    for path in folder.rglob("*"):
        os.utime(path, (source.epoch, source.epoch))
        path.chmod(0o755 if path.is_dir() else 0o644)
    if platform:
        (folder / "setup.cfg").write_text(f"[bdist_wheel]\nplat_name = {platform}\n", encoding="utf-8")
    before = set(into.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", f"--wheel-dir={into}", str(folder)]
    run(command, folder, {"SOURCE_DATE_EPOCH": str(source.epoch)})
    (made,) = set(into.glob("*.whl")) - before
    return made
