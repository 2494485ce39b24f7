"""The webhook as a process: a certificate from a folder, exit codes, signals."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from unigpu import names
from webhook.tls import certificates
from webhook.tls.file_source import FileSource
from webhook.tls.serving_cert import ServingCertificate

HOSTS = certificates.hosts(names.SERVICE_WEBHOOK, names.SYSTEM_NAMESPACE)


def write(folder: Path, lifetime: timedelta = timedelta(hours=1)) -> certificates.Generation:
    generation = certificates.make(certificates.Terms(HOSTS, lifetime), datetime.now(UTC))
    (folder / "tls.crt").write_text(generation.certificate)
    (folder / "tls.key").write_text(generation.key)
    return generation


def test_a_folders_certificate_is_loaded_and_exchanged(tmp_path: Path) -> None:
    identity = ServingCertificate()
    folder = FileSource(str(tmp_path), identity)
    folder.check()
    assert folder.unready() is not None and not folder.loaded.is_set()
    one = write(tmp_path)
    folder.check()
    assert folder.unready() is None and folder.loaded.is_set()
    assert identity.certificate == one.certificate
    two = write(tmp_path)
    folder.check()
    assert identity.certificate == two.certificate


def test_what_doesnt_belong_together_is_left(tmp_path: Path) -> None:
    identity = ServingCertificate()
    folder = FileSource(str(tmp_path), identity)
    one = write(tmp_path)
    folder.check()
    (tmp_path / "tls.crt").write_text(
        certificates.make(certificates.Terms(HOSTS, timedelta(hours=1)), one.expires).certificate
    )
    folder.check()
    (tmp_path / "tls.key").write_text("nothing")
    folder.check()
    assert identity.certificate == one.certificate
    assert folder.unready() is None


def free_port() -> int:
    with socket.create_server(("", 0)) as opened:
        return int(opened.getsockname()[1])


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "webhook",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"POD_NAMESPACE": ""},
    )


@pytest.fixture
async def metrics_port(kubeconfig: str, tmp_path: Path) -> AsyncIterator[int]:
    """Port of health of a process with a certificate in a folder; ends it by SIGTERM and expects status 0."""
    write(tmp_path)
    port = free_port()
    process = await start(
        "--port=0",
        f"--metrics-port={port}",
        f"--kubeconfig={kubeconfig}",
        f"--tls-folder={tmp_path}",
        "--drain-seconds=0",
        "--log-json",
    )
    try:
        yield port
    finally:
        process.terminate()
        _, text = await process.communicate()
    assert process.returncode == 0, text.decode()
    assert b'"message": "ended"' in text


async def test_a_process_gets_ready_and_ends_with_0(metrics_port: int) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{metrics_port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectorError:
                pass
            await asyncio.sleep(0.05)


async def test_a_taken_port_is_one_clear_sentence(kubeconfig: str) -> None:
    with socket.create_server(("", 0)) as taken:
        port = int(taken.getsockname()[1])
        process = await start(f"--metrics-port={port}", f"--kubeconfig={kubeconfig}")
        _, text = await process.communicate()
    assert process.returncode == 2
    assert f"can't listen on port {port}" in text.decode()
    assert "Traceback" not in text.decode()


async def test_the_configurations_are_printed() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "webhook", "--print-configuration", stdout=asyncio.subprocess.PIPE
    )
    text, _ = await process.communicate()
    assert process.returncode == 0
    assert b"kind: MutatingWebhookConfiguration" in text and b"kind: ValidatingWebhookConfiguration" in text
