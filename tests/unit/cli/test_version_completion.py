"""`version` and `completion`."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from cli import __main__ as command
from cli import completion, version
from cli.text import Style

ROOT = Path(__file__).parents[3]


def part(component: str, image: str, *, ready: bool = True, container: str = "main") -> dict[str, object]:
    return {
        "metadata": {"labels": {"app.kubernetes.io/component": component}},
        "spec": {"containers": [{"name": container, "image": image}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert command.main(["version", "--client"]) == 0
    assert capsys.readouterr().out == f"client  {project}\n"


def test_parts_by_image() -> None:
    pods = [part("node-agent", "u:1"), part("node-agent", "u:1", ready=False), part("webhook", "u:2")]
    found = version.parts(pods)
    assert [(one["part"], one["image"], one["ready"], one["pods"]) for one in found] == [
        ("node-agent", "u:1", 1, 2),
        ("webhook", "u:2", 1, 1),
    ]
    lines = list(version.lines({"client": "0.1", "server": "v1.36.0", "parts": found}, Style(80)))
    assert lines[-2:] == ["node-agent  main       1/2    u:1", "webhook     main       1/1    u:2"]
    nothing = list(version.lines({"client": "0.1", "server": "v1.36.0", "parts": []}, Style(80)))
    assert nothing[-1].startswith("No part of unigpu runs")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_scripts_name_every_command_and_option(shell: str) -> None:
    script = completion.script(shell, command.parser())
    assert all(name in script for name in command.COMMANDS)
    assert "system-namespace" in script and "%(" not in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "kubectl"])
def test_scripts_are_of_their_language(shell: str, tmp_path: Path) -> None:
    program = shutil.which({"kubectl": "sh"}.get(shell, shell))
    if program is None:
        pytest.skip(f"{shell} isn't here")
    (tmp_path / "script").write_text(completion.script(shell, command.parser()))
    done = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        ([""], [*command.COMMANDS]),
        (["st"], ["status"]),
        (["status", "-o", ""], ["table", "wide", "json", "yaml"]),
        (["status", "--no"], ["--node"]),
        (["completion", "ba"], ["bash"]),
    ],
)
def test_kubectl_and_bash_complete(words: list[str], candidates: list[str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion.script("kubectl", command.parser()))
    done = subprocess.run(["sh", tmp_path / "script", *words], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [*candidates, ":4"]
    (tmp_path / "bash").write_text(completion.script("bash", command.parser()))
    typed = " ".join(f"'{word}'" for word in ("kubectl-unigpu", *words))
    complete = '_kubectl_unigpu; printf "%s\\n" "${COMPREPLY[@]}"'
    ask = f". {tmp_path}/bash; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; {complete}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
    assert [word for word in done.stdout.split() if word != "--help"] == candidates
