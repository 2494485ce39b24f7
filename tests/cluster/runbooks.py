"""Runbooks, followed: the commands of a page, given as they stand there while its alert fires."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster import settings
from demo.kube import Kube

FOLDER = settings.ROOT / "docs" / "runbooks"
VARIABLES = {"node": "NODE", "namespace": "NAMESPACE", "pod": "POD", "container": "CONTAINER", "pod_uid": "POD_UID"}
"""Variables of the pages, by the alert's label."""
NOT_HERE = {
    "kubectl -n unigpu-system top ": "needs metrics-server",
    "kubectl -n unigpu-system get certificate,": "needs cert-manager",
    "kubectl run try ": "fails for as long as the webhook is out of reach",
    "--previous": "needs a container that ended",
}
"""Commands that can't succeed on the tests' cluster while the alert fires, and why."""
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(alert: str) -> Iterator[str]:
    """Yield the commands of an alert's page, each with those that set variables before it."""
    text = (FOLDER / f"{alert}.md").read_text()
    for block in _BLOCK.findall(text):
        before: list[str] = []
        for command in re.sub(r"\\\n\s*", "", block).splitlines():
            if re.match(r"\w+=\$\(", command):
                before.append(command)
            elif command:
                yield "\n".join([*before, command])


def follow(alert: str, labels: Mapping[str, str], kube: Kube, node: str) -> list[str]:
    """Give each command of the alert's page; return what went wrong.

    `labels`: the alert's. `node`: what somebody sets where the alert names none.
    """
    path = f"{settings.BIN}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "KUBECONFIG": str(kube.kubeconfig), "NODE": node}
    env |= {variable: labels[label] for label, variable in VARIABLES.items() if label in labels}
    wrong = []
    for command in commands(alert):
        if any(part in command for part in NOT_HERE):
            continue
        done = subprocess.run(
            ["bash", "-u", "-c", command], env=env, cwd=settings.ROOT, capture_output=True, text=True, timeout=120
        )
        # A grep at the end that finds nothing is an answer: what it looks for may be older than the log.
        nothing = done.returncode == 1 and "| grep" in command and not done.stdout and not done.stderr
        if done.returncode and not nothing:
            said = (done.stderr + done.stdout).strip()[-800:]
            wrong.append(f"{command}\n  exit status {done.returncode}: {said or 'it prints nothing'}")
    return wrong
