"""The API server itself judges which pods seem to ask for a GPU: every key of every vendor, misspelt by one letter.

A pod that isn't sent to the webhook is warned of nothing, so what translation hears must be sent.
"""

import http.client
import json
import random
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import apiserver
from tests.chart.apiserver import PATIENCE, kubectl
from tests.unit.webhook.test_every_key import ANNOTATIONS, LABELS, RESOURCES, misspelt
from webhook.admission import configuration
from webhook.translation import near_misses

SENT = "seems to ask for a GPU"
Json = dict[str, Any]


def policy() -> str:
    """A policy that refuses the pods that the API server would send to the webhook."""
    expression = f"!({configuration.mentions_gpu()}) && !({configuration.seems_to_ask()})"
    kinds = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [kinds]},
        "validations": [{"expression": expression, "message": SENT}],
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "sent"}}
    made = {**head, "kind": "ValidatingAdmissionPolicy", "spec": spec}
    bound = {
        **head,
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": "sent", "validationActions": ["Deny"]},
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "default"},
    }
    return yaml.safe_dump_all([account, made, bound])


def pod(
    limits: Json | None = None, annotations: Json | None = None, labels: Json | None = None, env: str | None = None
) -> Json:
    container: Json = {"name": "main", "image": "x"}
    if limits:
        container["resources"] = {"limits": limits}
    if env:
        container["env"] = [{"name": env, "value": "1"}]
    metadata = {"generateName": "p-", "annotations": annotations or {}, "labels": labels or {}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def sent(kubeconfig: Path) -> Iterator[Callable[[Json], bool]]:
    """Whether the API server would send a pod to the webhook, or refuses it by itself."""
    done = kubectl(kubeconfig, "apply", "-f", "-", text=policy())
    assert done.returncode == 0, done.stderr
    server = urllib.parse.urlsplit(apiserver.address(kubeconfig))
    trusted = ssl.create_default_context(cafile=str(apiserver.authority(kubeconfig)))
    connection = http.client.HTTPSConnection(str(server.hostname), server.port, context=trusted, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {apiserver.TOKEN}", "Content-Type": "application/json"}

    def ask(one: Json) -> bool:
        connection.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", json.dumps(one), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        # A name that can't be any is refused, so that isn't silent either.
        assert answer.status in (201, 422) or SENT in text, (answer.status, text, json.dumps(one))
        return answer.status != 201

    try:
        deadline = time.monotonic() + PATIENCE
        while not ask(pod({"nvidia.com/gpu": "1"})):  # the API server takes a moment to learn of a policy
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield ask
    finally:
        connection.close()
        kubectl(kubeconfig, "delete", "-f", "-", text=policy())


def resource(name: str) -> Json:
    return pod({name: "1"})


def annotation(name: str) -> Json:
    return pod(annotations={name: "1"})


def label(name: str) -> Json:
    return pod(labels={name: "1"})


def variable(name: str) -> Json:
    return pod(env=name.upper())


@pytest.mark.parametrize(
    ("placed", "keys"),
    [(resource, RESOURCES), (annotation, ANNOTATIONS), (label, LABELS), (variable, near_misses.VARIABLES)],
)
def test_a_misspelt_key_is_sent(
    sent: Callable[[Json], bool], placed: Callable[[str], Json], keys: Iterable[str]
) -> None:
    silent = []
    for key in keys:
        random.seed(key)
        wrong = [key, *random.sample([*misspelt(key)], 12)]
        silent += [one for one in wrong if not sent(placed(one))]
    assert silent == []


def test_a_variable_of_one_gpu_is_sent(sent: Callable[[Json], bool]) -> None:
    assert sent(variable("CUDA_DEVICE_MEMRY_LIMIT_15"))


@pytest.mark.parametrize(
    "made",
    [
        *(annotation(name) for name in ("koordinator.sh/qosClass", "volcano.sh/task-spec", "nvidia.com/gpu.present")),
        *(label(name) for name in ("app", "app.kubernetes.io/name", "kueue.x-k8s.io/queue-name", "hami.io/other")),
        *(variable(name) for name in ("PATH", "KUBERNETES_SERVICE_HOST", "NVIDIA_VISIBLE_DEVICES", "AWS_REGION")),
        *(resource(name) for name in ("cpu", "memory", "rdma/hca", "aliyun.com/eni", "nvidia.com/mig-1g.5gb")),
    ],
)
def test_what_is_somebody_elses_costs_no_call(sent: Callable[[Json], bool], made: Json) -> None:
    assert not sent(made)
