"""The library's few parts that are used cost no more than themselves, and stay the library's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ("cli", "page", "webhook", "scheduler", "deviceplugin")
"""Programs that talk to the API server."""


MOVED = """
import importlib
whole = importlib.import_module

def moved(name, *more):
    if name == "kubernetes_asyncio.client.api_client":
        raise ModuleNotFoundError(name)
    return whole(name, *more)

importlib.import_module = moved
from unigpu_kube import library
"""
"""As with a version of the library that has another name for one of its modules."""


def run(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", COMMANDS)
def test_no_program_loads_the_models_of_the_api(program: str) -> None:
    """Its wiring is imported as its process does it."""
    module = {"cli": "cli.__main__", "page": "page.app"}.get(program, f"{program}.app")
    listing = f"""
import importlib, json, sys
importlib.import_module({module!r})
import unigpu_kube.client
print(json.dumps([name for name in sys.modules if name.startswith("kubernetes_asyncio")]))
"""
    loaded = json.loads(run(listing))
    assert "kubernetes_asyncio.client.api_client" in loaded
    assert [name for name in loaded if ".client.models" in name or ".client.api." in name] == []


def test_the_library_is_whole_for_everybody_else() -> None:
    """Imported by its own name, before or after; or where its modules have other names."""
    program = """
import asyncio
{first}
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.config import kube_config
from unigpu_kube import library

assert client.ApiClient is library.ApiClient
assert client.Configuration is library.Configuration
assert client.ApiException is library.ApiException
assert config is library.config
assert kube_config is library.kube_config

async def read():
    async with library.ApiClient() as api:
        pod = api._ApiClient__deserialize({{"metadata": {{"name": "one"}}}}, "V1Pod")
        assert isinstance(pod, client.V1Pod)
        print(pod.metadata.name)

asyncio.run(read())
"""
    assert run(program.format(first="from unigpu_kube import library")) == "one\n"
    assert run(program.format(first="import kubernetes_asyncio")) == "one\n"
    assert run(program.format(first=MOVED)) == "one\n"
