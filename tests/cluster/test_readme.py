"""README.md, followed by somebody who copies its commands: on a fresh checkout, and on a cluster without GPUs.

The commands are read from the page, so that one which is changed there is tried here. The checkout has neither a
Python environment nor anything that was built; Debian's packages and Go's caches are the machine's.
`make check-readme` runs it: it builds everything once more, which takes minutes.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from demo import install
from tests.prometheus.server import backfill, running
from tests.prometheus.test_cost import EVERY, samples
from tests.unit.docs import following, readme
from tests.unit.docs.pages import ROOT

LONG = bool(os.environ.get("UNIGPU_SOAK"))
PLAIN = "plain"
"""The cluster without GPUs."""
BUILD = 1800.0
"""Seconds that `make demo` may take where nothing is built yet."""
REGISTRY = "localhost"
"""Stands for the reader's registry: nodes have its images already."""

pytestmark = pytest.mark.skipif(not LONG, reason="takes minutes; `make check-readme` runs it")


class Reader:
    """Somebody at a shell in a fresh checkout, who has read the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setup = ""
        """What was typed before, and still holds in this shell."""
        self.typed: set[str] = set()
        """Commands of the page that were run."""

    def run(self, text: str, seconds: float = 300.0) -> str:
        """Run a command; return what it prints. A failure fails the test."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{self.setup}\n{text}"],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-4000:]}"
        return done.stdout

    def type(self, beginning: str, own: Mapping[str, str] | None = None, seconds: float = 300.0) -> str:
        """Run the page's command that begins like this, with the reader's own words in place of the page's."""
        printed = text = readme.command(beginning)
        self.typed.add(printed)
        for words, instead in (own or {}).items():
            assert text.count(words) == 1, f"{words!r} isn't in {printed!r} once"
            text = text.replace(words, instead)
        return self.run(text, seconds)

    def watch(self, beginning: str, words: str) -> None:
        """Run the page's command, which goes on until it is interrupted, until it has printed the words."""
        printed = readme.command(beginning)
        self.typed.add(printed)
        process = subprocess.Popen(
            ["bash", "-euc", f"{self.setup}\nexec {printed}"],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell starts what runs in the background, as this test may, with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        guard = threading.Timer(120.0, process.kill)
        guard.start()
        try:
            seen = any(words in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            process.communicate()
        finally:
            guard.cancel()
        assert seen and process.returncode in (0, 128 + signal.SIGINT), process.returncode


def environment() -> dict[str, str]:
    """Return the variables of a new shell, without those of this test and of make."""
    away = ("PYTEST_", "MAKE", "PYTHON", "VIRTUAL_ENV", "UNIGPU_", "KUBECONFIG")
    return {name: value for name, value in os.environ.items() if not name.startswith(away)}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """A checkout whose clusters are stopped at the end."""
    # Not pytest's folder: a node's sockets lie below it, and their paths are short.
    folder = Path(tempfile.mkdtemp(prefix="unigpu-readme-"))
    shutil.copytree(ROOT, folder, ignore=following.SOURCES, dirs_exist_ok=True)
    made = Reader(folder)
    yield made
    for name in ("unigpu", PLAIN):
        made.run(f"python3 -m cluster down --name {name}")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def demo(reader: Reader, tell: Callable[[str], None]) -> str:
    """What the first command prints."""
    began = time.monotonic()
    printed = reader.type("make demo", seconds=BUILD)
    tell(f"make demo in a fresh checkout: {time.monotonic() - began:.0f} s")
    # The line that the demo prints for the reader's shell.
    (export,) = re.findall(r"^  (export KUBECONFIG=.*)$", printed, re.MULTILINE)
    reader.setup = export
    return printed


def image(reader: Reader, role: str, name: str) -> str:
    """Return a line of `python -m cluster images`, which builds nothing that is there."""
    listed = reader.run(f".venv/bin/python -m cluster images --name {name}")
    (found,) = re.findall(rf"^{role}=(\S+)$", listed, re.MULTILINE)
    return str(found)


def write_pod(reader: Reader, probe: str) -> None:
    """The reader's own pod.yaml, written for some vendor's scheduler."""
    limits = {"resources": {"limits": {"aliyun.com/gpu-mem": "4"}}}
    container = {"name": "main", "image": probe, "command": ["/usr/local/bin/probe", "--stay", "--no-take"], **limits}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trainer"}, "spec": spec}
    (reader.folder / "pod.yaml").write_text(yaml.safe_dump(document))


def test_the_demo_ends_with_what_the_page_shows(demo: str) -> None:
    assert readme.difference(readme.demo_output(), demo) == ""


def test_the_commands_work_on_the_demos_cluster(reader: Reader, demo: str, tmp_path: Path) -> None:
    write_pod(reader, image(reader, "probe", "unigpu"))
    assert "unigpu.dev/memory" in reader.type("kubectl unigpu translate")
    reader.run("kubectl apply -f pod.yaml && kubectl wait pod/trainer --for=condition=Ready --timeout=120s")
    assert re.search(r"default/trainer main +4 GiB", reader.type("kubectl unigpu status"))
    reader.watch("kubectl unigpu top", "default/trainer")
    assert "aliyun.com/gpu-mem" in reader.type("kubectl unigpu explain")
    reader.type("kubectl unigpu limit")
    assert re.search(r"default/trainer main +8 GiB", reader.type("kubectl unigpu status"))
    reader.type("kubectl unigpu doctor")
    data = backfill(tmp_path, list(samples(int(time.time()) // EVERY * EVERY)))
    with running(tmp_path, {"global": {"scrape_interval": f"{EVERY}s"}}, data) as prometheus:
        report = reader.type("kubectl unigpu cost", {"…": prometheus.address})
    assert "COST" in report and "total" in report


def test_a_program_is_held_without_a_cluster(reader: Reader, demo: str) -> None:
    reader.run("unigpu-sim create --dir machine --gpus 1 --profile l40s")
    simulated = f"UNIGPU_SIM_DIR={reader.folder}/machine LD_LIBRARY_PATH={reader.folder}/build/simulator"
    before = reader.setup
    reader.setup += f"\nexport {simulated}"
    said = reader.type("kubectl unigpu run", {"-- program": "-- build/probe/probe --step 64"})
    reader.setup = before
    assert f'"total_bytes":{4 << 30}' in said


def test_down_removes_all_of_it(reader: Reader, demo: str) -> None:
    reader.type("make down")
    left = "from tests.cluster import harness; print(*harness.leftovers('unigpu'), sep='\\n')"
    assert reader.run(f'.venv/bin/python -c "{left}"').strip() == ""


@pytest.fixture(scope="module")
def plain(reader: Reader, demo: str) -> str:
    """A cluster without GPUs, whose nodes have the images under the names of a registry; the name of the probe's."""
    reader.run(f"make up NAME={PLAIN} GPUS=0", 600)
    kubeconfig = f"build/cluster/{PLAIN}/kubeconfig"
    reader.setup = re.sub(r"KUBECONFIG=\S+", f"KUBECONFIG={reader.folder}/{kubeconfig}", reader.setup)
    version = reader.run("kubectl version -o json | grep -A9 serverVersion | grep -o 'v1[.0-9]*' | head -1").strip()
    chart = yaml.safe_load((ROOT / "helm/unigpu/Chart.yaml").read_text())
    names = {"services": f"unigpu:{chart['appVersion']}", "scheduler": f"kube-scheduler:{version}"}
    for role, name in names.items():
        enter = f".venv/bin/python -m cluster enter --name {PLAIN} --node 1 --"
        tag = f"{reader.folder}/build/bin/ctr --namespace k8s.io images tag"
        reader.run(f"{enter} {tag} {image(reader, role, PLAIN)} {REGISTRY}/{name}")
    return image(reader, "probe", PLAIN)


def test_a_cluster_without_gpus_gets_simulated_ones(reader: Reader, plain: str) -> None:
    reader.type(f"{INSTALL} --wait", {"REGISTRY": REGISTRY})
    write_pod(reader, plain)
    reader.run("kubectl apply -f pod.yaml && kubectl wait pod/trainer --for=condition=Ready --timeout=120s")
    status = reader.type("kubectl unigpu status")
    assert "1 node, 2 GPUs" in status and re.search(r"default/trainer main +4 GiB", status)
    reader.type("kubectl unigpu doctor")
    reader.run("kubectl delete pod trainer && helm uninstall unigpu --namespace unigpu-system --wait")


def test_the_chart_installs_as_printed(reader: Reader, plain: str) -> None:
    """With the driver of real GPUs, of which this node has none: every part becomes ready all the same."""
    reader.type(f"{INSTALL} --set global", {"REGISTRY": REGISTRY})
    for part in ("deployment/unigpu-webhook", "deployment/unigpu-scheduler", "daemonset/unigpu-node-agent"):
        reader.run(f"kubectl -n unigpu-system rollout status {part} --timeout=180s")
    assert "No GPUs" in reader.type("kubectl unigpu status")


def test_every_command_of_the_page_was_run(reader: Reader, plain: str) -> None:
    assert [line for line in readme.commands() if line not in reader.typed] == []


INSTALL = f"helm install {install.RELEASE} helm/unigpu --namespace unigpu-system --create-namespace"
