"""What an image sets by itself, which no admission sees: unigpu's own variables win, and nothing else lifts a limit.

The same variables in the pod, which the kubelet sets after those of a device plugin, have no more effect.
"""

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cluster import images, settings
from cluster.images import Image
from demo.kube import Kube, wait_for
from tests.cluster.test_breach import PATIENCE, PROBE, describe, holds, namespace, pod
from unigpu import names

__all__ = ["namespace"]  # a fixture

MIB = 2100
HOSTILE = {
    names.ENV_NVIDIA_VISIBLE_DEVICES: "all",
    names.ENV_NVIDIA_DRIVER_CAPABILITIES: "all",
    names.ENV_MANAGED: "",
    names.ENV_TRIAL_POLICY: "/tmp/none",
    names.ENV_TRIAL_USAGE: "/tmp/none",
    names.ENV_INJECTED_LIMITS: f"{names.ENV_MEMORY_LIMIT}=1m",
    names.ENV_FAMILY_ACCOUNT: "3:1:1",
    names.ENV_SHARED_CACHE: "/tmp/none",
    "CUDA_VISIBLE_DEVICES": "0",
    "LD_PRELOAD": "libm.so.6",
    "LD_LIBRARY_PATH": "/usr/local/cuda/compat",
    "LD_BIND_NOW": "1",
}
OURS = {names.ENV_NVIDIA_VISIBLE_DEVICES: "void", names.ENV_MANAGED: "1"}


@pytest.fixture(scope="module")
def image(
    kube: Kube, project: dict[str, Image], cluster: settings.Layout, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The small GPU program's image, with variables of its own."""
    made = with_variables(project["probe"], HOSTILE, tmp_path_factory.mktemp("image") / "image.tar")
    (node,) = kube.json("get", "nodes")["items"]
    images.load(cluster, node["metadata"]["name"], [made])
    return made.name


def with_variables(image: Image, variables: dict[str, str], file: Path) -> Image:
    """Write an image's archive again with other variables in its configuration."""
    name = f"{images.LOCAL}unigpu-variables:test"
    with tarfile.open(image.file) as before, tarfile.open(file, "w") as after:
        listed = before.extractfile("manifest.json")
        assert listed is not None
        (manifest,) = json.load(listed)
        configured = before.extractfile(manifest["Config"])
        assert configured is not None
        document = json.load(configured)
        kept = [one for one in document["config"].get("Env") or () if one.partition("=")[0] not in variables]
        document["config"]["Env"] = [*kept, *(f"{key}={value}" for key, value in variables.items())]
        content = json.dumps(document).encode()
        config = f"{hashlib.sha256(content).hexdigest()}.json"
        for member in before:
            if member.name not in ("manifest.json", "repositories", manifest["Config"]):
                after.addfile(member, before.extractfile(member) if member.isfile() else None)
        manifest |= {"Config": config, "RepoTags": [name]}
        for path, text in ((config, content), ("manifest.json", json.dumps([manifest]).encode())):
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            after.addfile(entry, io.BytesIO(text))
    return dataclasses.replace(image, name=name, file=file)


@pytest.mark.parametrize("of_the_pod", [False, True], ids=["image", "image-and-pod"])
def test_variables_of_the_image_lift_no_limit(kube: Kube, image: str, namespace: str, of_the_pod: bool) -> None:
    document: dict[str, Any] = pod("tries", image, [PROBE, "--no-take", "--stay"], MIB)
    if of_the_pod:
        variables = [{"name": key, "value": value} for key, value in HOSTILE.items()]
        document["spec"]["containers"][0]["env"] = variables
    kube.apply([document], namespace)
    seen = wait_for("the program runs", lambda: holds(kube, "tries"), PATIENCE, lambda: describe(kube, "tries"))
    assert [gpu["total_bytes"] for gpu in seen["gpus"]] == [MIB << 20]
    words = kube.run("exec", "-n", namespace, "tries", "--", "env").splitlines()
    found = dict(word.split("=", 1) for word in words if "=" in word)
    assert found.items() >= (HOSTILE | OURS).items(), "the image's variables arrive, and unigpu's win"
