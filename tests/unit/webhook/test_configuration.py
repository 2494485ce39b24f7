"""The webhook configurations as the chart renders them."""

from webhook.admission import configuration
from webhook.settings import Settings
from webhook.translation import dialects


def test_the_conditions_know_every_dialect() -> None:
    expression = configuration.mentions_gpu()
    for dialect in dialects.ALL:
        for name in (*dialect.resources, *dialect.annotations):
            assert f"'{name}'" in expression


def test_each_webhook_has_a_condition_and_the_service() -> None:
    settings = Settings(service="s", namespace="n", configuration="c", excluded=("a", "b"))
    mutating, validating = configuration.documents(settings)
    assert mutating["metadata"]["name"] == validating["metadata"]["name"] == "c"
    hooks = [*mutating["webhooks"], *validating["webhooks"]]
    paths = [hook["clientConfig"]["service"]["path"] for hook in hooks]
    assert paths == ["/mutate", "/mutate", "/mutate", "/validate", "/validate", "/validate", "/validate"]
    for hook in hooks:
        advises = hook["name"] in ("advise.unigpu.dev", "notice.unigpu.dev")
        assert hook["failurePolicy"] == ("Ignore" if advises else "Fail")
        assert hook["matchConditions"] and hook["sideEffects"] == "NoneOnDryRun"
        assert hook["clientConfig"]["service"] | {"path": ""} == {
            "name": "s",
            "namespace": "n",
            "port": 443,
            "path": "",
        }
        assert "caBundle" not in hook["clientConfig"]
        assert hook["namespaceSelector"]["matchExpressions"][0]["values"] == ["a", "b", "n"]


def test_the_schedulers_own_bindings_are_not_sent() -> None:
    _, validating = configuration.documents(Settings(namespace="n"))
    (bind,) = [hook for hook in validating["webhooks"] if "pods/binding" in hook["rules"][0]["resources"]]
    assert bind["rules"][0]["resources"] == ["pods/binding", "bindings"]
    (condition,) = bind["matchConditions"]
    assert condition["expression"].endswith("request.userInfo.username != 'system:serviceaccount:n:unigpu-scheduler'")


def test_updates_are_sent_only_where_ours_change() -> None:
    _, validating = configuration.documents(Settings())
    (protect,) = [hook for hook in validating["webhooks"] if hook["name"] == "protect.unigpu.dev"]
    assert "pods/status" in protect["rules"][0]["resources"]
    (condition,) = protect["matchConditions"]
    for annotation in ("request", "allocation", "limits", "limits-applied", "lowered"):
        assert f"'unigpu.dev/{annotation}' in oldObject.metadata.annotations" in condition["expression"]


def test_vendors_annotations_and_labels_of_translated_pods_are_sent() -> None:
    expression = configuration.changes_without_effect()
    assert expression.startswith("has(oldObject.metadata.annotations) && 'unigpu.dev/request' in oldObject")
    assert f"!({configuration.protected()})" in expression
    for name in ("tencent.com/vcuda-core-limit", "gpu-fraction", "nvidia.com/use-gputype", "aliyun.com/gpu-count"):
        assert f"'{name}'" in expression
