"""The node's clock is set, and the API server's history is compacted: nothing is lost, and nothing stays behind."""

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.deviceplugin.conftest import Machine, one, until
from unigpu import names, policy

HOUR = 3600


@pytest.fixture
def step(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the agent's clock, by seconds from the true time."""
    library, file = tmp_path / "clock.so", machine.root / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_STEP", str(file))

    def by(seconds: int) -> None:
        new = file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(file)

    by(0)
    return by


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
async def test_clock_steps(machine: Machine, step: Callable[[int], None], seconds: int) -> None:
    machine.run()
    await machine.serving()
    gone, stays = [await machine.create(name, main=one(gpu, 1000)) for gpu, name in enumerate(("gone", "stays"))]
    for pod in (gone, stays):
        await machine.kubelet.prestart(pod, "main")

    step(seconds)
    await machine.api.set_down(True)
    await machine.answers("/readyz", 503)
    await machine.api.delete("pods", gone)
    machine.api.compact()
    await machine.api.set_down(False)

    await until(lambda: not machine.folder(gone).exists(), "what is gone is released by a list alone")
    await machine.answers("/readyz", 200)
    assert "watch expired" in machine.log.read_text()
    assert machine.folder(stays).exists()
    new = await machine.create("new", main=one(0, 1000))
    await machine.kubelet.prestart(new, "main")
    file = machine.folder(stays) / "policy"
    changed = copy.deepcopy(machine.api.objects["pods"]["default/stays"])
    changed["metadata"]["annotations"][names.ANNOTATION_LIMITS] = "memory=500Mi"
    await machine.api.put("pods", changed)
    await until(lambda: policy.unpack(file.read_bytes()).gpus[0].memory == 500 << 20, "limits change as before")
    await machine.kubelet.prestart(stays, "main")
    assert "Traceback" not in machine.log.read_text()
