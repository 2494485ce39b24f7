"""Paths that would hide what limits a container, however they are spelled."""

import posixpath
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhook.conftest import Admission, make_pod
from unigpu import errors, names
from webhook.translation import mounts
from webhook.translation.options import Options

MEM = "aliyun.com/gpu-mem"
FORBIDDEN = [
    "/",
    "/etc",
    "/etc/ld.so.preload",
    "/etc/ld.so.preload/x",
    "/proc",
    "/proc/1/root/etc",
    "/proc/self/root/etc/ld.so.preload",
    "/proc/self/root/usr/local/unigpu/policy",
    "/proc/thread-self/root/x",
    "/usr",
    "/usr/local",
    names.CONTAINER_ROOT,
    names.CONTAINER_LIBRARY,
    names.CONTAINER_POLICY,
    names.CONTAINER_USAGE,
    f"{names.CONTAINER_ROOT}/deeper/still",
]
ALLOWED = [
    "/data",
    "/etc/app",
    "/etc/ld.so.preload.d",
    "/etc/ld.so.cache",
    "/usr/local/bin",
    "/usr/local/unigpu2",
    "/usr/share/fonts",
    "/processes",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "/dev/shm",
    "/...",
]


@pytest.mark.parametrize("path", FORBIDDEN)
def test_forbidden(path: str) -> None:
    assert mounts.hidden(path)


@pytest.mark.parametrize("path", ALLOWED)
def test_allowed(path: str) -> None:
    assert mounts.hidden(path) is None


@pytest.mark.parametrize("path", ["..", "/a/..", "/a/../etc/ld.so.preload", "/proc/../x", "/data/../data"])
def test_paths_that_go_up(path: str) -> None:
    assert ".." in (mounts.hidden(path) or "")


@st.composite
def spelled(draw: st.DrawFn, paths: list[str]) -> str:
    """One of the paths, in any way that means the same."""
    parts = [part for part in draw(st.sampled_from(paths)).split("/") if part]
    between = st.lists(st.sampled_from(["", "."]), max_size=3)
    words = [word for part in parts for word in (*draw(between), part)] + draw(between)
    return "/".join([*draw(st.sampled_from([[""], []])), *words])


@given(path=spelled(FORBIDDEN))
def test_forbidden_in_every_spelling(path: str) -> None:
    assert mounts.hidden(path)


@given(path=spelled(ALLOWED))
def test_allowed_in_every_spelling(path: str) -> None:
    assert mounts.hidden(path) is None


@given(path=st.text(alphabet="/.abpocretyul", max_size=30))
def test_a_path_that_may_be_mounted_hides_nothing(path: str) -> None:
    """By Python's own reading of paths, and below nothing that leads elsewhere."""
    if mounts.hidden(path) is None:
        real = posixpath.normpath("/" + path.lstrip("/"))
        for guarded in (names.CONTAINER_ROOT, names.CONTAINER_PRELOAD, "/proc"):
            assert not f"{guarded}/".startswith(f"{real.rstrip('/')}/")
            assert not f"{real}/".startswith(f"{guarded}/")


FIELDS: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("volumeMounts[0].mountPath", lambda path: {"volumeMounts": [{"name": "v", "mountPath": path}]}),
    ("volumeMounts[0].mountPath", lambda path: {"volumeMounts": [{"name": "v", "mountPath": path, "subPath": "x"}]}),
    ("volumeDevices[0].devicePath", lambda path: {"volumeDevices": [{"name": "v", "devicePath": path}]}),
    ("terminationMessagePath", lambda path: {"terminationMessagePath": path}),
]


def container(limits: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "main", "resources": {"limits": limits}} | fields


@pytest.mark.parametrize(("field", "fields"), FIELDS)
def test_every_field_that_puts_something_into_a_container(
    admission: Admission, field: str, fields: Callable[[str], dict[str, Any]]
) -> None:
    path = "/proc/self/root/etc/ld.so.preload"
    verdict = admission.mutate(make_pod(containers=[container({MEM: 1}, **fields(path))]))
    assert verdict.outcome == "refused"
    assert f"container main: {field} = {path}: /proc leads to every file" in verdict.reason
    assert "accepted: a path outside /proc" in verdict.reason
    assert admission.create(make_pod(containers=[container({MEM: 1}, **fields("/data"))]))


def mounted(path: str) -> dict[str, Any]:
    return {"volumeMounts": [{"name": "v", "mountPath": path}]}


def test_what_limits_nothing_may_be_hidden(admission_with: Callable[[Options], Admission]) -> None:
    admission = admission_with(Options())
    free = [{"name": "CGPU_DISABLE", "value": "true"}]
    for one in (
        container({"cpu": 1}, **mounted("/usr/local")),
        container({"nvidia.com/gpu": 1}, **mounted("/usr/local")),
        container({MEM: 1}, env=free, **mounted("/usr/local")),
    ):
        assert admission.create(make_pod(containers=[one]))


def test_another_webhook_adds_a_mount_later(admission: Admission) -> None:
    stored = admission.create(make_pod({MEM: 1}))
    stored["spec"]["containers"][0] |= mounted("/usr/local/./unigpu")
    verdict = admission.validate(stored)
    assert (verdict.outcome, verdict.answer["response"]["allowed"]) == ("refused", False)
    assert "it would hide /usr/local/unigpu" in verdict.reason


def test_a_malformed_mount_is_named(admission: Admission) -> None:
    document = make_pod(containers=[container({MEM: 1}, volumeMounts=[{"mountPath": 7}])])
    with pytest.raises(errors.Malformed, match=r"spec.containers\[0\].volumeMounts\[0\].mountPath is a number"):
        admission.mutate(document)


@pytest.mark.parametrize(("limits", "refused"), [({MEM: 1}, True), ({"nvidia.com/gpu": 1}, False)])
def test_ephemeral_containers(admission: Admission, limits: dict[str, Any], refused: bool) -> None:
    stored = admission.create(make_pod(limits))
    earlier = stored | {"spec": stored["spec"] | {"ephemeralContainers": [{"name": "old"} | mounted("/proc")]}}
    for path, wrong in (("/proc/1/root/etc/ld.so.preload", refused), ("/data", False)):
        added = [*earlier["spec"]["ephemeralContainers"], {"name": "debugger"} | mounted(path)]
        later = stored | {"spec": stored["spec"] | {"ephemeralContainers": added}}
        verdict = admission.validate(
            later, operation="UPDATE", subResource="ephemeralcontainers", oldObject=earlier, userInfo={"username": "u"}
        )
        assert verdict.answer["response"]["allowed"] is not wrong
        if wrong:
            assert "container debugger: volumeMounts[0].mountPath" in verdict.reason
