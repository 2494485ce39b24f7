"""nvidia-smi of three driver branches, on the same GPUs with the same processes: each shows what the others show."""

import json
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

CLIENTS = Path(__file__).resolve().parents[3] / "build" / "clients"
COMMANDS = [
    line
    for line in Path(__file__).with_name("smi_commands.txt").read_text().splitlines()
    if not line.lstrip().startswith("#")
]
MIB = 1 << 20
HELD = (1024, 512)
pytestmark = pytest.mark.usefixtures("clients")


@dataclass(frozen=True)
class Branch:
    """A driver branch, and where its nvidia-smi was unpacked."""

    driver: str
    cuda: str
    folder: str

    @property
    def smi(self) -> Path:
        return CLIENTS / self.folder / "usr/lib/nvidia/current/nvidia-smi"


OLDEST = Branch("535.261.03", "12.2", "debian")
LATER = (Branch("550.163.01", "12.4", "debian-trixie"), Branch("555.58.02", "12.5", "debian-experimental"))

NEW_SECTIONS = {
    "JPG Utilization Samples",
    "OFA Utilization Samples",
    "GPU Memory Power Readings",
    "jpg_utilization_samples",
    "ofa_utilization_samples",
    "gpu_memory_power_readings",
    "Fabric",
    "fabric",
    "Capabilities",
    "capabilities",
}
NEW_KEYS = {
    "GPU C2C Mode",
    "vGPU Heterogeneous Mode",
    "Base Classcode",
    "Sub Classcode",
    "c2c_mode",
    "vgpu_heterogeneous_mode",
    "pci_base_class",
    "pci_sub_class",
}
"""What 535's doesn't print."""
ITS_OWN = {
    "Timestamp",
    "timestamp",
    "Driver Version",
    "driver_version",
    "CUDA Version",
    "cuda_version",
    "Instantaneous Power Draw",
    "instant_power_draw",
}
RENAMED = {"Average Power Draw": "Power Draw", "average_power_draw": "power_draw"}
Facts = dict[tuple[str, ...], list[str]]


def outputs(machine: "Machine", branch: Branch) -> dict[str, str]:
    """What each command line prints, with HELD-n in place of the pid of the process that holds n MiB."""
    options = ("--driver-version", branch.driver, "--cuda-version", branch.cuda, "--seed", "7", "--force")
    machine.create("--profile", "h100", "--gpus", "2", *options)
    holders, pids = [], {}
    for size in HELD:
        client = machine.client()
        holders.append(client)
        assert client.ask("start") == client.ask("alloc", size * MIB) == 0
        pids[str(client.process.pid)] = f"HELD-{size}"
    found = {}
    for command in COMMANDS:
        done = subprocess.run(
            [branch.smi, *shlex.split(command)], env=machine.environment(), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{branch.driver} {command}: {done.stdout}{done.stderr}"
        assert not re.search(r"Not Found|Unknown Error|ERR!", done.stdout), f"{branch.driver} {command}: {done.stdout}"
        found[command] = re.sub(
            r"(?<!\d)(" + "|".join(pids) + r")(?!\d)", lambda match: pids[match.group()], done.stdout
        )
    for client in holders:
        client.kill()
    return found


def facts(command: str, text: str) -> Facts:
    """What the output says, without its layout: values by what they are of."""
    if "-x" in command:
        return xml_facts(text)
    if command.startswith("-q"):
        return listed_facts(text)
    if command.startswith("pmon"):
        return column_facts(text)
    words = re.sub(r"[-=+|]{2,}|[|+]", " ", text).split("\n")
    kept = [" ".join(line.split()) for line in words]
    return {("lines",): sorted(line for line in kept if line and not re.search(r"Driver Version|^\w{3} \w{3} ", line))}


def listed_facts(text: str) -> Facts:
    """Of lines `key : value`, in sections by their indentation."""
    found: Facts = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        key, colon, value = line.partition(" : ")
        depth = len(line) - len(line.lstrip())
        above = [each for each in above if each[0] < depth]
        name = RENAMED.get(key.strip(), key.strip())
        if name and not name.startswith("="):
            path = (*(each[1] for each in above), name)
            found.setdefault(path, []).extend([value.strip()] if colon else [])
            above.append((depth, name))
    return found


def xml_facts(text: str) -> Facts:
    found: Facts = {}

    def visit(element: ET.Element, path: tuple[str, ...]) -> None:
        here = (*path, RENAMED.get(element.tag, element.tag) + element.get("id", ""))
        if len(element) == 0:
            found.setdefault(here, []).append((element.text or "").strip())
        for child in element:
            visit(child, here)

    visit(ET.fromstring(text), ())
    return found


def column_facts(text: str) -> Facts:
    names, _, *rows = (line.lstrip("# ").split() for line in text.splitlines())
    found: Facts = {}
    for number, name in enumerate(names):
        if name not in ("jpg", "ofa"):
            found[(name,)] = sorted(" ".join((row[0], row[1], row[number])) for row in rows)
    return found


def compare(command: str, old: Facts, new: Facts) -> int:
    """Check that both say the same of all that both print; return how many values were compared."""

    def of(facts: Facts) -> Facts:
        left = {path: sorted(values) for path, values in facts.items() if not ITS_OWN & set(path)}
        return {path: values for path, values in left.items() if not (NEW_SECTIONS | NEW_KEYS) & set(path)}

    first, second = of(old), of(new)
    assert first.keys() == second.keys(), f"{command}: {first.keys() ^ second.keys()}"
    for path, values in first.items():
        assert values == second[path], f"{command}: {path}"
    return sum(map(len, first.values()))


def test_there_are_36_command_lines() -> None:
    assert len(set(COMMANDS)) == 36


def test_every_branch_shows_the_same(machine: "Machine") -> None:
    old = outputs(machine, OLDEST)
    for branch in LATER:
        new = outputs(machine, branch)
        compared = sum(compare(command, facts(command, old[command]), facts(command, new[command])) for command in old)
        assert compared > 1500, compared


@pytest.mark.parametrize("branch", [OLDEST, *LATER], ids=lambda branch: branch.driver)
def test_what_is_shown_is_true(machine: "Machine", branch: Branch) -> None:
    shown = outputs(machine, branch)
    gpus = json.loads(machine.command("show", "--json"))["gpus"]
    apps = shown["--query-compute-apps=gpu_uuid,pid,process_name,used_memory --format=csv"].splitlines()[1:]
    told = {(uuid, pid, memory) for uuid, pid, _, memory in (line.split(", ") for line in apps)}
    assert told == {(gpus[0]["uuid"], f"HELD-{size}", f"{size + 517} MiB") for size in HELD}
    table = re.findall(r"\| +0 +N/A +N/A +(HELD-\d+) +C .* (\d+)MiB \|", shown[""])
    assert {(pid, int(memory)) for pid, memory in table} == {(f"HELD-{size}", size + 517) for size in HELD}
    memory = shown["--query-gpu=memory.total,memory.reserved,memory.used,memory.free --format=csv,noheader,nounits"]
    assert memory.splitlines() == ["81559, 555, 2570, 78434", "81559, 555, 0, 81004"]
    watched = column_facts(shown["pmon -c 1 -s um"])
    assert watched[("fb",)] == ["0 HELD-1024 1541", "0 HELD-512 1029", "1 - -"]
    assert watched[("sm",)] == ["0 HELD-1024 0", "0 HELD-512 0", "1 - -"]
    assert shown["nvlink -s"].count("26.562 GB/s") == 2 * 18
    assert shown["nvlink -c"].count("true") == 2 * 18 * 6
    assert shown["nvlink -e"].count("Errors: 0") == 2 * 18 * 3
    assert re.search(r"GPU0\s+X\s+NV18\s", shown["topo -m"])
    assert "by way of a single PCIe switch" in shown["topo -p -i 0,1"]
    power, heat = (listed_facts(shown[f"-q -d {part}"]) for part in ("POWER", "TEMPERATURE"))
    (place,) = (
        path[:-1] for path in power if path[-2:] == ("GPU Power Readings", "Current Power Limit") and "07" in path[0]
    )
    assert [power[(*place, f"{name} Power Limit")] for name in ("Current", "Max")] == [["700.00 W"]] * 2
    assert [value for path, value in heat.items() if path[-1] == "GPU Shutdown T.Limit Temp"] == [["-10 C"]] * 2


@pytest.mark.parametrize("branch", [OLDEST, *LATER], ids=lambda branch: branch.driver)
def test_a_reset_that_is_needed_is_said(machine: "Machine", branch: Branch) -> None:
    machine.create("--gpus", "2", "--driver-version", branch.driver, "--cuda-version", branch.cuda)
    machine.command("inject", "--gpu", "0", "--xid", "48")
    machine.command("inject", "--gpu", "1", "--xid", "94")

    def said() -> list[list[str]]:
        text = subprocess.run([branch.smi, "-q"], env=machine.environment(), capture_output=True, text=True, timeout=60)
        status = listed_facts(text.stdout)
        keys = ("Reset Required", "Drain and Reset Recommended")
        return [[one for path, values in status.items() if path[-1] == key for one in values] for key in keys]

    assert said() == [["Yes", "No"], ["No", "Yes"]]
    for gpu in ("0", "1"):
        reset = subprocess.run(
            [branch.smi, "-r", "-i", gpu], env=machine.environment(), capture_output=True, text=True, timeout=60
        )
        assert "was successfully reset" in reset.stdout
    assert said() == [["No", "No"], ["No", "No"]]
