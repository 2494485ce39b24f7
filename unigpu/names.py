"""Every name that crosses a boundary: resources, annotations, labels, environment variables, paths, ports, metrics.

Nothing else in the project spells one of these strings. libvgpu's C header is generated from here
(`make headers`), and the chart's tests compare what is rendered with it.
"""

from typing import Final

DOMAIN: Final = "unigpu.dev"

# Resources: the unified form. A container's limits; requests equal limits.
RESOURCE_VGPU: Final = f"{DOMAIN}/vgpu"
"""Number of GPUs of which the container gets a share; advertised by the device plugin as opaque slots."""
RESOURCE_MEMORY: Final = f"{DOMAIN}/memory"
"""MiB, total over the container's GPUs; in node status, without a device plugin."""
RESOURCE_CORES: Final = f"{DOMAIN}/cores"
"""Percent of one GPU, total over the container's GPUs; in node status, without a device plugin."""
UNIFIED_RESOURCES: Final = (RESOURCE_VGPU, RESOURCE_MEMORY, RESOURCE_CORES)

# Annotations of pods.
ANNOTATION_REQUEST: Final = f"{DOMAIN}/request"
"""What the webhook understood; see unigpu.requests."""
ANNOTATION_ALLOCATION: Final = f"{DOMAIN}/allocation"
"""Which GPUs the scheduler chose; see unigpu.allocations. Written with the binding, in one step."""
ANNOTATION_LIMITS: Final = f"{DOMAIN}/limits"
"""Limits that replace the request's while the pod runs; see unigpu.limits. Written by whoever may update the pod."""
ANNOTATION_LIMITS_APPLIED: Final = f"{DOMAIN}/limits-applied"
"""Limits that are in force, and what containers hold beyond them: the node agent's answer to the former."""

# Reasons of events on pods.
EVENT_LIMITS_CHANGED: Final = "LimitsChanged"
EVENT_LIMITS_REFUSED: Final = "LimitsRefused"

# Annotations of namespaces, by which their owner sets what containers get; MiB, percent and numbers as quantities.
ANNOTATION_DEFAULT_MEMORY: Final = f"{DOMAIN}/default-memory"
"""MiB on each GPU for containers that name a number of GPUs only, which else get whole ones."""
ANNOTATION_DEFAULT_CORES: Final = f"{DOMAIN}/default-cores"
"""Percent of each GPU for shares that name no cores, whose compute else isn't limited."""
ANNOTATION_MAX_GPUS: Final = f"{DOMAIN}/max-gpus"
ANNOTATION_MAX_MEMORY: Final = f"{DOMAIN}/max-memory"
"""MiB on each GPU. Whole GPUs, and memory in percent or without limit, are then refused."""
ANNOTATION_MAX_CORES: Final = f"{DOMAIN}/max-cores"
"""Percent of each GPU. Whole GPUs, and compute without limit, are then refused."""
ANNOTATION_ISOLATION: Final = f"{DOMAIN}/isolation"
"""`required`: authors can't switch it off in this namespace; `optional`: they can. Absent: as the chart says."""

# Annotations and labels of nodes.
ANNOTATION_INVENTORY: Final = f"{DOMAIN}/inventory"
"""The node's GPUs as the node agent sees them; see unigpu.gpus."""
LABEL_MODE: Final = f"{DOMAIN}/mode"
LABEL_ACK_SCHEDULE: Final = "ack.node.gpu.schedule"
LABEL_ACK_PLACEMENT: Final = "ack.node.gpu.placement"
LABEL_CGPU_DISABLE_ISOLATION: Final = "cgpu.disable.isolation"
LABEL_QGPU_POLICY: Final = "tke.cloud.tencent.com/qgpu-schedule-policy"
"""`fixed-share`, `burst-share` or `best-effort`: the compute policy of qGPU's pods there."""

# Labels of objects.
LABEL_COMPONENT: Final = "app.kubernetes.io/component"

SCHEDULER_NAME: Final = "unigpu-scheduler"
SYSTEM_NAMESPACE: Final = "unigpu-system"

# Objects of the chart.
SERVICE_WEBHOOK: Final = "unigpu-webhook"
SECRET_WEBHOOK_TLS: Final = "unigpu-webhook-tls"
WEBHOOK_CONFIGURATION: Final = "unigpu-webhook"
"""Name of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration."""
ACCOUNT_SCHEDULER: Final = "unigpu-scheduler"
ACCOUNT_NODE_AGENT: Final = "unigpu-node-agent"
"""Service accounts that may write the platform's annotations."""

# Vendors' fields that are read outside their dialect: keys of `Request.original_fields`, whose values are plain whole
# numbers in the vendor's unit.
DIALECT_ALIBABA: Final = "alibaba"
DIALECT_HAMI: Final = "hami"
DIALECT_QGPU: Final = "qgpu"
ALIYUN_GPU_MEM: Final = "aliyun.com/gpu-mem"
"""Units over all of the container's GPUs."""
ALIYUN_GPU_COUNT: Final = "aliyun.com/gpu-count"
"""Pod label: GPUs over which gpu-mem is spread."""

# Environment of containers.
ENV_MEMORY_LIMIT: Final = "CUDA_DEVICE_MEMORY_LIMIT"
"""`300m`, `1g` or bytes, for every GPU; with `_<index>` for one. Tightens only."""
ENV_CORE_LIMIT: Final = "CUDA_DEVICE_SM_LIMIT"
"""Percent, for every GPU; with `_<index>` for one. Tightens only."""
ENV_INJECTED_LIMITS: Final = "UNIGPU_INJECTED_LIMITS"
"""Set by the node agent to the limit variables that it sets itself, as `NAME=value` joined by `;`: they are what the
policy said at the start, so a container's process that finds one unchanged doesn't take it for a wish to tighten."""
ENV_SHARED_CACHE: Final = "CUDA_DEVICE_MEMORY_SHARED_CACHE"
"""File that programs without a policy share as their usage file."""
ENV_LIBRARY_LOG: Final = "UNIGPU_LOG"
"""libvgpu's messages on stderr: `error` (default), `info`, `debug`, `none`."""
ENV_MANAGED: Final = "UNIGPU_MANAGED"
"""Set by the node agent in every container that it serves: libvgpu then refuses to work without a policy."""
ENV_TRIAL_POLICY: Final = "UNIGPU_POLICY"
"""Policy file for a trial outside Kubernetes; not heeded in a managed container."""
ENV_TRIAL_USAGE: Final = "UNIGPU_USAGE"
"""Usage file of such a trial."""
ENV_SIM_DIR: Final = "UNIGPU_SIM_DIR"
"""Folder of the simulator's state."""
ENV_NVIDIA_VISIBLE_DEVICES: Final = "NVIDIA_VISIBLE_DEVICES"
"""`void` tells NVIDIA's runtime hook, where there is one, to add nothing."""
ENV_ALIYUN_INDEX: Final = "ALIYUN_COM_GPU_MEM_IDX"
"""NVML's index of the container's GPUs, comma-separated; what programs written for gpushare read, with the next three,
which are in the unit that the pod's author used."""
ENV_ALIYUN_POD: Final = "ALIYUN_COM_GPU_MEM_POD"
ENV_ALIYUN_CONTAINER: Final = "ALIYUN_COM_GPU_MEM_CONTAINER"
"""On each GPU."""
ENV_ALIYUN_GPU: Final = "ALIYUN_COM_GPU_MEM_DEV"

# Paths in containers.
CONTAINER_ROOT: Final = "/usr/local/unigpu"
CONTAINER_LIBRARY: Final = f"{CONTAINER_ROOT}/libvgpu.so"
CONTAINER_POLICY: Final = f"{CONTAINER_ROOT}/policy"
CONTAINER_USAGE: Final = f"{CONTAINER_ROOT}/usage"
CONTAINER_PRELOAD: Final = "/etc/ld.so.preload"
"""Not LD_PRELOAD: an image's or a user's own value of it is then never overwritten."""
CONTAINER_DRIVER_FOLDERS: Final = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")
"""Where the dynamic linker of Debian's and of Red Hat's family looks without being told."""

IMAGE_LIBRARY: Final = "/opt/unigpu/lib/libvgpu.so"
"""libvgpu in the image of the services, from where the node agent copies it to the node."""

# Paths on nodes.
NODE_ROOT: Final = "/var/lib/unigpu"
NODE_CONTAINERS: Final = f"{NODE_ROOT}/containers"
"""One folder a container: `<pod UID>/<container name>/` with `grant.json`, `policy` and `usage`."""
NODE_LIBRARY: Final = f"{NODE_ROOT}/lib/libvgpu.so"
NODE_CDI: Final = "/var/run/cdi"
KUBELET_PLUGINS: Final = "/var/lib/kubelet/device-plugins"
KUBELET_CHECKPOINT: Final = f"{KUBELET_PLUGINS}/kubelet_internal_checkpoint"
KUBELET_POD_RESOURCES: Final = "/var/lib/kubelet/pod-resources/kubelet.sock"
PLUGIN_SOCKET: Final = "unigpu.sock"

CDI_KIND: Final = RESOURCE_VGPU
"""A CDI device is named `unigpu.dev/vgpu=<slot>`: what one container alone gets."""
CDI_COMMON: Final = f"{DOMAIN}/driver=node"
"""CDI device of what all containers of a node get: the driver's libraries and libvgpu."""

# Ports, all inside pods.
PORT_WEBHOOK: Final = 8443
PORT_WEBHOOK_METRICS: Final = 8080
PORT_EXTENDER: Final = 8888
"""Loopback only: the extender binds pods for whoever asks, so only the kube-scheduler of its own pod may reach it."""
PORT_EXTENDER_METRICS: Final = 8889
PORT_EXPORTER: Final = 9400
PORT_PLUGIN_HEALTH: Final = 9401

# Metrics.
METRIC_WEBHOOK_REVIEWS: Final = "unigpu_webhook_reviews_total"
METRIC_WEBHOOK_SECONDS: Final = "unigpu_webhook_review_seconds"
METRIC_WEBHOOK_SKIPPED: Final = "unigpu_webhook_skipped_pods"
METRIC_WEBHOOK_EXPIRY: Final = "unigpu_webhook_certificate_expiry_timestamp_seconds"
METRIC_MEMORY_USED: Final = "unigpu_container_memory_used_bytes"
METRIC_MEMORY_LIMIT: Final = "unigpu_container_memory_limit_bytes"
METRIC_MEMORY_REFUSED: Final = "unigpu_container_memory_refused_total"
METRIC_CORES_LIMIT: Final = "unigpu_container_cores_limit_percent"
METRIC_CORES_CEILING: Final = "unigpu_container_cores_ceiling_percent"
METRIC_CORES_NOW: Final = "unigpu_container_cores_now_percent"
METRIC_COMPUTE_SECONDS: Final = "unigpu_container_gpu_seconds_total"
METRIC_THROTTLED_SECONDS: Final = "unigpu_container_throttled_seconds_total"
METRIC_THROTTLED_LAUNCHES: Final = "unigpu_container_throttled_launches_total"
METRIC_GPU_MEMORY_TOTAL: Final = "unigpu_gpu_memory_total_bytes"
METRIC_GPU_MEMORY_USED: Final = "unigpu_gpu_memory_used_bytes"
METRIC_GPU_MEMORY_GRANTED: Final = "unigpu_gpu_memory_granted_bytes"
METRIC_CONTAINER_INFO: Final = "unigpu_container_info"
METRIC_CONTAINER_UNREADABLE: Final = "unigpu_container_unreadable"
METRIC_GPU_SHARES: Final = "unigpu_gpu_shares"
METRIC_GPU_UTILISATION: Final = "unigpu_gpu_utilisation_percent"
METRIC_GPU_HEALTHY: Final = "unigpu_gpu_healthy"
METRIC_EXPORTER_DRIVER: Final = "unigpu_exporter_driver_up"
METRIC_EXPORTER_SECONDS: Final = "unigpu_exporter_collect_seconds"
METRIC_SCHEDULER_SECONDS: Final = "unigpu_scheduler_request_seconds"
METRIC_SCHEDULER_NODES: Final = "unigpu_scheduler_nodes"
METRIC_SCHEDULER_GPUS: Final = "unigpu_scheduler_gpus"
METRIC_SCHEDULER_PODS: Final = "unigpu_scheduler_pods"
METRIC_SCHEDULER_ASSUMED: Final = "unigpu_scheduler_assumed_pods"
METRIC_SCHEDULER_OVERBOOKED: Final = "unigpu_scheduler_overbooked_gpus"
METRIC_SCHEDULER_RELISTS: Final = "unigpu_scheduler_relists_total"
