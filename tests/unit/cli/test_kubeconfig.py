"""What the kubeconfig says apart from the API server's address."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import kubeconfig
from unigpu import errors


@pytest.fixture
def path(tmp_path: Path) -> str:
    return written(tmp_path, {"as": "somebody", "as-uid": "7", "as-groups": ["staff"]})


def written(folder: Path, user: dict[str, Any]) -> str:
    document = {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "plain", "namespace": "team"}},
            {"name": "two", "context": {"cluster": "c", "user": "acting"}},
        ],
        "users": [{"name": "plain", "user": {"token": "x"}}, {"name": "acting", "user": user}],
        "clusters": [{"name": "c", "cluster": {"server": "http://x"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(document))
    return str(folder / "kubeconfig")


def test_namespaces(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [kubeconfig.namespace(path, context) for context in ("", "one", "two", "three")] == [
        "team",
        "team",
        "default",
        "default",
    ]
    (tmp_path / "broken").write_text("}")
    monkeypatch.setattr(kubeconfig, "_ACCOUNT_NAMESPACE", tmp_path / "namespace")
    assert kubeconfig.namespace(str(tmp_path / "broken"), "") == "default"
    (tmp_path / "namespace").write_text("own\n")
    assert kubeconfig.namespace(str(tmp_path / "broken"), "") == "own"


def test_a_user_that_acts_as_another(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library doesn't send it, and without it a command would run with more rights than were meant."""
    assert kubeconfig.impersonation(path, "") == {}
    acting = {"Impersonate-User": "somebody", "Impersonate-Uid": "7", "Impersonate-Group": "staff"}
    assert kubeconfig.impersonation(path, "two") == acting
    with pytest.raises(errors.Unavailable, match="as-groups = a, b"):
        kubeconfig.impersonation(written(tmp_path, {"as": "x", "as-groups": ["a", "b"]}), "two")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBECONFIG", path)
    assert kubeconfig.impersonation("", "") == {}
    assert kubeconfig.namespace("", "") == "team"


def test_options_that_name_nothing(path: str) -> None:
    kubeconfig.check(path, "two")
    kubeconfig.check("", "")
    with pytest.raises(
        errors.Unavailable, match="--context = three: the kubeconfig doesn't have it; accepted: one, two"
    ):
        kubeconfig.check(path, "three")
    with pytest.raises(errors.Unavailable, match="--kubeconfig = /none: no such file"):
        kubeconfig.check("/none", "")
