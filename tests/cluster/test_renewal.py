"""The certificate is renewed every 10 s, by two replicas, while pods are created throughout: no review fails."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster import images
from demo import install
from demo.kube import Kube, wait_for
from tests.cluster.api import Api
from unigpu import names

SECONDS = float(os.environ.get("UNIGPU_SECONDS", "25"))
"""How long pods are created at least; `make check-renewal` takes 5 minutes."""
LIFETIME = 15
"""Seconds. A certificate is renewed after two thirds of its life."""
RENEWALS = 2
"""That must have come into force in every replica, however short the time."""
PATIENCE = 120.0
PAUSE = 0.03
"""Seconds between two creations of one creator."""
SHOWN = 10.0
NAMESPACE = "renewal"


class Creator(threading.Thread):
    """Create and delete pods until it is stopped. Nothing schedules them, so only admission has work."""

    def __init__(self, api: Api) -> None:
        super().__init__(name="creator")
        self._api = api
        self.stop = threading.Event()
        self.made = 0
        self.failures: list[str] = []

    def run(self) -> None:
        pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
        while not self.stop.wait(PAUSE):
            try:
                status, text = self._api.ask("POST", pods, share())
                self.made += 1
                if status != 201:
                    self.failures.append(f"{status} {text}")
                    continue
                created = json.loads(text)
                if names.ANNOTATION_REQUEST not in created["metadata"].get("annotations", {}):
                    self.failures.append(f"not translated: {text}")
                self._api.ask("DELETE", f"{pods}/{created['metadata']['name']}?gracePeriodSeconds=0")
            except Exception as error:
                self.failures.append(repr(error))
                return


def share() -> dict[str, Any]:
    container = {"name": "c", "image": "none", "resources": {"limits": {"aliyun.com/gpu-mem": "1"}}}
    spec = {"containers": [container], "schedulingGates": [{"name": "unigpu.dev/nobody"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"}, "spec": spec}


def served(api: Api) -> dict[str, float]:
    """When the certificate ends that each replica serves with, by the replica's name.

    A pod that has just ended is still listed, and nobody answers at its address: it isn't a replica.
    """
    folder = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
    pods = api.get(f"{folder}?labelSelector={names.LABEL_COMPONENT}=webhook")["items"]
    found = {}
    for pod in pods:
        name = pod["metadata"]["name"]
        if "deletionTimestamp" in pod["metadata"]:
            continue
        try:
            status, text = api.ask("GET", f"{folder}/{name}:{names.PORT_WEBHOOK_METRICS}/proxy/metrics")
        except TimeoutError:
            continue
        if status == 200:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
            (found[name],) = (sample.value for sample in samples if sample.name == names.METRIC_WEBHOOK_EXPIRY)
    return found


@pytest.fixture
def connect(kube: Kube, tmp_path: Path) -> Iterator[Callable[[], Api]]:
    """Makes connections to the API server."""
    opened: list[Api] = []

    def make() -> Api:
        opened.append(Api(kube.kubeconfig, tmp_path))
        return opened[-1]

    yield make
    for api in opened:
        api.close()


@pytest.fixture
def short_lived(kube: Kube, project: dict[str, images.Image], connect: Callable[[], Api]) -> Iterator[None]:
    """Both replicas make certificates that live for a short time."""
    by_role = {role: image.name for role, image in project.items()}
    kube.namespace(NAMESPACE)
    # As a user would: helm refuses to upgrade an object whose arguments somebody else has set.
    install.install(kube, by_role, simulated=True, more=[f"webhook.extraArgs={{--certificate-seconds={LIFETIME}}}"])
    yield
    install.install(kube, by_role, simulated=True)
    api = connect()
    wait_for(
        "both serve with certificates that last",
        lambda: len(ends := served(api)) == 2 and min(ends.values()) > time.time() + 3600,
        PATIENCE,
    )
    kube.run("delete", "namespace", NAMESPACE, "--wait=false")


def test_no_review_fails_while_the_certificate_is_renewed(
    connect: Callable[[], Api], short_lived: None, tell: Callable[[str], None]
) -> None:
    api = connect()
    replicas = wait_for(
        "two replicas serve with certificates that end soon",
        lambda: seen if len(seen := served(api)) == 2 and max(seen.values()) < time.time() + LIFETIME + 1 else None,
        PATIENCE,
    )
    ends: dict[str, set[float]] = {name: set() for name in replicas}
    creators = [Creator(connect()), Creator(connect())]
    for creator in creators:
        creator.start()
    began, shown = time.monotonic(), 0.0
    try:
        while True:
            passed = time.monotonic() - began
            for name, end in served(api).items():
                ends.setdefault(name, set()).add(end)
            made, failed = sum(c.made for c in creators), sum(len(c.failures) for c in creators)
            renewed = [len(each) - 1 for each in ends.values()]
            if passed > shown + SHOWN:
                tell(f"{passed:4.0f} s: {made} creations, {failed} failed, renewals seen {renewed}")
                shown = passed
            if failed or (passed > SECONDS and min(renewed) >= RENEWALS):
                break
            assert passed < SECONDS + PATIENCE, f"renewals seen in each replica: {renewed}"
            time.sleep(0.5)
    finally:
        for creator in creators:
            creator.stop.set()
        for creator in creators:
            creator.join()
    failures = [text for creator in creators for text in creator.failures]
    made = sum(creator.made for creator in creators)
    tell(f"{passed:.0f} s: {made} creations, {len(failures)} failed; renewals seen in the replicas: {renewed}")
    assert not failures, failures[0]
    assert made
    assert len(ends) == len(replicas), "a replica was restarted during the test"
