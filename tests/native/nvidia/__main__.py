"""Run other people's GPU tests on the simulated driver and print what failed, by cause.

`python -m tests.native.nvidia [--tests DIR] [--only WORD] [--json FILE] [--libvgpu]`; the suites are in suites.toml.
With --libvgpu each suite runs twice, without libvgpu and with it at half of a GPU, and what differs is printed.
"""

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from simulator import machine
from tests.native.nvidia import environments, processes
from tests.native.nvidia.causes import Cause, Difference, Outcome, differences, said, with_known
from tests.native.nvidia.suites import FILE, Suite, suites
from unigpu import names

LIMIT_S: Final = 120
PROFILE: Final = "a100-40"
GPUS: Final = 2
LIBVGPU: Final = Path("build/lib/libvgpu.so").absolute()
HALF: Final = {names.ENV_MEMORY_LIMIT: "20g", names.ENV_CORE_LIMIT: "50"}
"""The limits of half of one of the machine's GPUs."""
BAD: Final = (Cause.SIMULATOR, Cause.CRASH, Cause.HANG)


def main() -> int:
    """Run the suites; return 1 if a crash, a hang or a simulator's fault is left, or libvgpu makes a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.native.nvidia", description=__doc__)
    parser.add_argument("--tests", type=Path, help="git checkout that has the tests that no package ships")
    parser.add_argument("--only", default="", help="suites and files whose name contains this, e.g. 'pynvml'")
    parser.add_argument("--file", default="", help="of those suites, files whose name contains this")
    parser.add_argument("--folder", type=Path, default=Path("build/nvidia-tests"), help="keeps environments and logs")
    parser.add_argument(
        "--libvgpu", action="store_true", help="compare with libvgpu at half of a GPU, also of its time"
    )
    parser.add_argument("--json", type=Path, help="file for every test's outcome")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    # Otherwise pytest finds the project's own settings, which aren't for these tests.
    (arguments.folder / "pytest.ini").write_text("[pytest]\n")
    results: dict[str, list[Outcome] | str] = {}
    differ: dict[str, list[Difference]] = {}
    for suite in suites(FILE.read_text()):
        if arguments.only not in suite.name:
            continue
        print(f"{suite.name} …", file=sys.stderr, flush=True)
        folder = (arguments.folder / suite.folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = list(_outcomes(suite, folder, arguments.tests, arguments.file))
            results[suite.name] = [with_known(outcome, suite.known) for outcome in found]
            if arguments.libvgpu:
                limited = _outcomes(suite, folder, arguments.tests, arguments.file, {"LD_PRELOAD": str(LIBVGPU)} | HALF)
                differ[suite.name] = differences(found, limited)
        except environments.NotAvailable as problem:
            results[suite.name] = str(problem)
    print(_table(results))
    for name, each in differ.items():
        print(f"{name}: {len(each)} outcomes differ with libvgpu")
        for one in each:
            print(f"  {one.test}: {one.without} -> {one.limited}: {said(one.text)[:160]}")
    if arguments.json:
        arguments.json.write_text(json.dumps(_report(results), indent=1) + "\n")
    bad = [each for found in results.values() if not isinstance(found, str) for each in found if each.cause in BAD]
    return 1 if bad or any(differ.values()) else 0


def _outcomes(
    suite: Suite, folder: Path, checkout: Path | None, part: str, limits: Mapping[str, str] = MappingProxyType({})
) -> Iterable[Outcome]:
    """Yield what became of each test of a suite, on a fresh machine, under the limits that the variables name."""
    state = folder / "machine"
    shutil.rmtree(state, ignore_errors=True)
    major, minor = map(int, suite.cuda.split("."))
    plan = machine.Plan(PROFILE, GPUS, driver_version=suite.driver, cuda_version=1000 * major + 10 * minor)
    machine.create(state, plan)
    settings = os.environ | machine.environment(state, os.environ.get("LD_LIBRARY_PATH")) | dict(limits)
    if suite.go:
        for program in environments.go_programs(suite, folder):
            yield processes.run_program([program, *suite.arguments.get(program.name, ())], folder, settings, LIMIT_S)
        return
    python = environments.python(suite, folder)
    settings |= {"PYTHONPATH": str(processes.PLUGIN_FOLDER), "UNIGPU_SIMULATOR": str(machine.library_path())}
    command: list[str | Path] = [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *suite.options]
    for file in processes.find_test_files(environments.tests(suite, folder, checkout)):
        if part in str(file) and file.name not in suite.left_out:
            yield from processes.run_file(command, file, folder, settings, LIMIT_S)


def _table(results: dict[str, list[Outcome] | str]) -> str:
    """Return the counts by suite and cause, then each test that isn't the kernels' or cudart's."""
    heads = list(Cause)
    lines = [f"{'suite':28}" + "".join(f"{head:>17}" for head in heads)]
    for name, found in results.items():
        if isinstance(found, str):
            lines.append(f"{name:28}  not run: {found}")
            continue
        counts = Counter(outcome.cause for outcome in found)
        lines.append(f"{name:28}" + "".join(f"{counts[head]:>17}" for head in heads))
    for name, found in results.items():
        for outcome in found if not isinstance(found, str) else ():
            if outcome.cause in (*BAD, Cause.OTHER, Cause.TEST):
                test = outcome.test.rpartition("/")[2]
                lines.append(f"{outcome.cause}: {name}: {test}: {said(outcome.text)[:160]}")
    return "\n".join(lines)


def _report(results: dict[str, list[Outcome] | str]) -> dict[str, object]:
    return {
        name: {"not run": found}
        if isinstance(found, str)
        else [{"test": each.test, "cause": each.cause, "text": each.text} for each in found]
        for name, found in results.items()
    }


if __name__ == "__main__":
    sys.exit(main())
