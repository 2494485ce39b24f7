"""Every kind that makes pods: `translate` finds what asks for GPUs in it, or says where it can't judge."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from cli import pod_shapes
from tests.unit.cli.test_translate import Ran, run
from unigpu import names

__all__ = ["run"]
Run = Callable[..., Ran]
C = "containers: [{name: main, image: x, resources: {limits: {nvidia.com/gpu: 1, nvidia.com/gpumem: 3000}}}]"
TEMPLATE = f"{{metadata: {{labels: {{app: x}}}}, spec: {{{C}}}}}"
ONE = "{image: x, resources: {limits: {nvidia.com/gpu: 1, nvidia.com/gpumem: 3000}}}"
PODS = {
    "Pod": f"kind: Pod\nspec: {{{C}}}",
    "Deployment": f"kind: Deployment\nspec: {{template: {TEMPLATE}}}",
    "CronJob": f"kind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {TEMPLATE}}}}}}}",
    "List": f"kind: List\nitems: [{{kind: Deployment, spec: {{template: {TEMPLATE}}}}}]",
    "PodTemplate": f"kind: PodTemplate\ntemplate: {TEMPLATE}",
    "Knative Service": f"kind: Service\napiVersion: serving.knative.dev/v1\nspec: {{template: {TEMPLATE}}}",
    "Rollout": f"kind: Rollout\nspec: {{template: {TEMPLATE}}}",
    "CloneSet": f"kind: CloneSet\nspec: {{template: {TEMPLATE}}}",
    "Notebook": f"kind: Notebook\nspec: {{template: {TEMPLATE}}}",
    "RayCluster head": f"kind: RayCluster\nspec: {{headGroupSpec: {{template: {TEMPLATE}}}}}",
    "RayCluster worker": f"kind: RayCluster\nspec: {{workerGroupSpecs: [{{replicas: 1, template: {TEMPLATE}}}]}}",
    "RayJob": f"kind: RayJob\nspec: {{rayClusterSpec: {{headGroupSpec: {{template: {TEMPLATE}}}}}}}",
    "RayService": f"kind: RayService\nspec: {{rayClusterConfig: {{workerGroupSpecs: [{{template: {TEMPLATE}}}]}}}}",
    "PyTorchJob": f"kind: PyTorchJob\nspec: {{pytorchReplicaSpecs: {{Worker: {{template: {TEMPLATE}}}}}}}",
    "TFJob": f"kind: TFJob\nspec: {{tfReplicaSpecs: {{Chief: {{template: {TEMPLATE}}}}}}}",
    "MPIJob": f"kind: MPIJob\nspec: {{mpiReplicaSpecs: {{Worker: {{template: {TEMPLATE}}}}}}}",
    "Volcano Job": f"kind: Job\napiVersion: batch.volcano.sh/v1alpha1\nspec: {{tasks: [{{template: {TEMPLATE}}}]}}",
    "JobSet": f"kind: JobSet\nspec: {{replicatedJobs: [{{template: {{spec: {{template: {TEMPLATE}}}}}}}]}}",
    "LeaderWorkerSet": f"kind: LeaderWorkerSet\nspec: {{leaderWorkerTemplate: {{workerTemplate: {TEMPLATE}}}}}",
    "SeldonDeployment": (f"kind: SeldonDeployment\nspec: {{predictors: [{{componentSpecs: [{{spec: {{{C}}}}}]}}]}}"),
    "ServingRuntime": f"kind: ServingRuntime\nspec: {{{C}}}",
    "LLMInferenceService": f"kind: LLMInferenceService\nspec: {{template: {{{C}}}}}",
    "InferenceService, containers": f"kind: InferenceService\nspec: {{predictor: {{{C}}}}}",
    "InferenceService, model": f"kind: InferenceService\nspec: {{predictor: {{model: {ONE}}}}}",
    "InferenceService, framework": f"kind: InferenceService\nspec: {{predictor: {{pytorch: {ONE}}}}}",
    "InferenceService, workers": (f"kind: InferenceService\nspec: {{predictor: {{model: {{}}, workerSpec: {{{C}}}}}}}"),
    "InferenceService, transformer": f"kind: InferenceService\nspec: {{transformer: {{{C}}}}}",
    "Workflow, container": f"kind: Workflow\nspec: {{templates: [{{name: t, container: {ONE}}}]}}",
    "Workflow, script": f"kind: WorkflowTemplate\nspec: {{templates: [{{name: t, script: {ONE}}}]}}",
    "Workflow, set": f"kind: ClusterWorkflowTemplate\nspec: {{templates: [{{containerSet: {{{C}}}}}]}}",
    "Workflow, sidecar": (
        f"kind: Workflow\nspec: {{templates: [{{container: {{image: y}}, sidecars: [{{name: s, {ONE[1:]}]}}]}}"
    ),
    "CronWorkflow": f"kind: CronWorkflow\nspec: {{workflowSpec: {{templates: [{{container: {ONE}}}]}}}}",
    "Workflow, inline": f"kind: Workflow\nspec: {{templates: [{{steps: [[{{inline: {{container: {ONE}}}}}]]}}]}}",
    "Workflow, defaults": f"kind: Workflow\nspec: {{templateDefaults: {{container: {ONE}}}}}",
    "a kind that nobody knows": f"kind: Unheard\nspec: {{deep: [{{podTemplate: {TEMPLATE}}}]}}",
}
SPARK = "spec: {driver: {cores: 1, gpu: {name: nvidia.com/gpu, quantity: 1}}}"
UNJUDGED = {
    "TrainJob": (
        "kind: TrainJob\nspec: {trainer: {resourcesPerNode: {limits: {nvidia.com/gpu: 4}}}}",
        "spec.trainer.resourcesPerNode.limits: nvidia.com/gpu = 4",
    ),
    "Task": (
        "kind: Task\nspec: {steps: [{name: s, computeResources: {limits: {aliyun.com/gpu-mem: 4}}}]}",
        "spec.steps[0].computeResources.limits: aliyun.com/gpu-mem = 4",
    ),
    "Workflow, patch": (
        'kind: Workflow\nspec: {podSpecPatch: \'{"containers":[{"resources":{"limits":{"nvidia.com/gpu":1}}}]}\'}',
        "spec.podSpecPatch: nvidia.com/gpu = …",
    ),
    "Workflow, resource": (
        "kind: Workflow\nspec:\n  templates:\n    - resource:\n        manifest: |\n          kind: Job\n"
        "          limits: {tencent.com/vcuda-core: 30}\n",
        "spec.templates[0].resource.manifest: tencent.com/vcuda-core = …",
    ),
    "a kind that nobody knows": (
        "kind: Unheard\nspec: {engine: {limits: {unigpu.dev/vgpu: 1}}}",
        "spec.engine.limits: unigpu.dev/vgpu = 1",
    ),
    "next to a pod": (
        f"kind: Unheard\nspec: {{pod: {TEMPLATE}, engine: {{limits: {{nvidia.com/gpu: 1}}}}}}",
        "spec.engine.limits: nvidia.com/gpu = 1",
    ),
}


@pytest.mark.parametrize("kind", PODS)
def test_every_shape_is_read(run: Run, kind: str) -> None:
    ran = run(PODS[kind])
    assert ran.status == 0, ran.err
    assert "1 GPU, 3000 MiB" in ran.err
    assert ran.err.count("(hami)") == 1, "each pod once"
    assert f"{names.RESOURCE_MEMORY}: '3000'" in ran.out
    assert pod_shapes.unjudged(yaml.safe_load(PODS[kind]), pod_shapes.pods(yaml.safe_load(PODS[kind]))) == []


@pytest.mark.parametrize("kind", PODS)
def test_every_shape_is_refused_where_a_pod_would_be(run: Run, kind: str) -> None:
    ran = run(PODS[kind].replace("nvidia.com/gpumem: 3000", "tencent.com/vcuda-core: 150"))
    assert ran.status == 1
    assert ran.err.startswith("refused: ")


@pytest.mark.parametrize("kind", UNJUDGED)
def test_what_cant_be_judged_is_named(run: Run, kind: str) -> None:
    text, says = UNJUDGED[kind]
    ran = run(text)
    assert ran.status == 2
    assert f"{says}: in no pod that can be read here" in ran.err and "; accepted: " in ran.err


@pytest.mark.parametrize("kind", ["SparkApplication", "ScheduledSparkApplication"])
@pytest.mark.parametrize("role", ["driver", "executor"])
def test_spark_names_a_resource_and_a_quantity(run: Run, kind: str, role: str) -> None:
    spec = SPARK.replace("driver", role)
    text = f"kind: {kind}\n{spec if kind == 'SparkApplication' else spec.replace('{', '{template: {', 1) + '}'}"
    ran = run(text)
    assert ran.status == 0
    assert f"container spark-kubernetes-{role} (hami): 1 whole GPU" in ran.err
    assert "the output has it as it is" in ran.err
    assert ran.documents == [yaml.safe_load(text)]
    refused = run(text.replace("nvidia.com/gpu", "tencent.com/vcuda-core").replace("quantity: 1", "quantity: 150"))
    assert refused.status == 1


@pytest.mark.parametrize(
    "text",
    [
        "kind: ResourceQuota\nspec: {hard: {requests.nvidia.com/gpu: 4, nvidia.com/gpu: 1}}",
        "kind: LimitRange\nspec: {limits: [{type: Container, default: {nvidia.com/gpumem: 4}}]}",
        "kind: PodGroup\nspec: {minResources: {nvidia.com/gpu: 4}}",
        "kind: Node\nstatus: {capacity: {nvidia.com/gpu: 4}}",
        "kind: ConfigMap\ndata: {config: '{resourceName: nvidia.com/gpu}'}",
        "kind: Deployment\nspec: {template: {spec: {containers: [{name: c, args: ['a: {nvidia.com/gpu: 1}']}]}}}",
    ],
)
def test_what_makes_no_pods_is_left_in_peace(run: Run, text: str) -> None:
    ran = run(text)
    assert (ran.status, ran.err) == (0, "")


def test_metadata_of_a_workflow_counts(run: Run) -> None:
    """Argo puts `podMetadata` and a template's own metadata on its pods; the latter counts where both say it."""
    text = f"""
kind: Workflow
spec:
  podMetadata: {{annotations: {{nvidia.com/use-gputype: A100, nvidia.com/nouse-gputype: T4}}}}
  templates: [{{metadata: {{annotations: {{nvidia.com/use-gputype: H100}}}}, container: {ONE}}}]
"""
    ran = run(text)
    (template,) = ran.documents[0]["spec"]["templates"]
    request = template["metadata"]["annotations"][names.ANNOTATION_REQUEST].lower()
    assert "h100" in request and "t4" in request and "a100" not in request
    assert template["schedulerName"] == names.SCHEDULER_NAME


def test_plan_reads_the_same_shapes() -> None:
    from cli import plan
    from cli.manifests import Manifest
    from webhook.translation.options import Options

    document: dict[str, Any] = yaml.safe_load(PODS["Workflow, container"])
    (planned,) = plan.pods(Manifest("f", document), Options())
    assert planned.request is not None
