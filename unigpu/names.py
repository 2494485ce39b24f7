"""Every name that crosses a boundary: resources, annotations, labels, environment variables, paths, ports, metrics.

No other module spells one of these strings. libvgpu's C header is generated from this module (`make headers`), and the
chart's tests compare the rendered objects with it.
"""

from typing import Final

DOMAIN: Final = "unigpu.dev"

# Resources of the unified form: set in a container's limits, and equal in its requests.
RESOURCE_VGPU: Final = f"{DOMAIN}/vgpu"
"""Number of GPUs of which the container gets a share; the device plugin advertises them as opaque slots."""
RESOURCE_MEMORY: Final = f"{DOMAIN}/memory"
"""MiB over all of the container's GPUs; advertised in the node's status, without a device plugin."""
RESOURCE_CORES: Final = f"{DOMAIN}/cores"
"""Percent of one GPU's compute time, summed over the container's GPUs; advertised in the node's status."""
UNIFIED_RESOURCES: Final = (RESOURCE_VGPU, RESOURCE_MEMORY, RESOURCE_CORES)

# Annotations of pods.
ANNOTATION_REQUEST: Final = f"{DOMAIN}/request"
"""The pod's request in the unified form, written by the webhook; see unigpu.requests."""
ANNOTATION_ALLOCATION: Final = f"{DOMAIN}/allocation"
"""The GPUs that the scheduler chose, written in one step with the binding; see unigpu.allocations."""
ANNOTATION_LIMITS: Final = f"{DOMAIN}/limits"
"""Limits that replace the request's while the pod runs, written by people; see unigpu.limits."""
ANNOTATION_LIMITS_APPLIED: Final = f"{DOMAIN}/limits-applied"
"""Limits in force, and memory that containers hold beyond them, written by the node agent; see unigpu.limits."""
ANNOTATION_LOWERED: Final = f"{DOMAIN}/lowered"
"""What a pod had before its limits were lowered to make room for a more important one; see unigpu.lowering."""

# Reasons of events about pods.
EVENT_LIMITS_CHANGED: Final = "LimitsChanged"
EVENT_LIMITS_REFUSED: Final = "LimitsRefused"

EVENT_LIMITS_ENDED: Final = "LimitsEnded"
"""Also about the controller that makes the next pod."""
EVENT_MAKING_ROOM: Final = "MakingRoom"
"""About the pod for which limits of others are lowered."""
EVENT_NO_ROOM: Final = "NoGpuHasRoom"
"""About a pod for which nodes have enough in total, and no single GPU has room."""
EVENT_GPU_ASSIGNED: Final = "GpuAssigned"
EVENT_MEMORY_REFUSED: Final = "GpuMemoryRefused"
EVENT_USAGE_FILE_CUT: Final = "UsageFileCutBack"
EVENT_REQUEST_WARNING: Final = "GpuRequestWarning"
"""About the controller of a pod that was admitted with a warning."""
EVENT_ADMISSION_SKIPPED: Final = "GpuAdmissionSkipped"
"""About a pod that asks for GPUs in a vendor's words and was created while no webhook answered."""

# Reasons of events about pods and nodes.
EVENT_BREACH: Final = "GpuBreach"
"""A container uses more of a GPU than it was granted; see unigpu.breaches."""
EVENT_BREACH_ENDED: Final = "GpuBreachEnded"
EVENT_OFFENDERS_KILLED: Final = "GpuOffendersKilled"
EVENT_STRANGER: Final = "GpuStranger"
"""A process outside every container with a grant holds memory of a GPU."""
EVENT_STRANGER_GONE: Final = "GpuStrangerGone"
EVENT_GPU_UNHEALTHY: Final = "GpuUnhealthy"
EVENT_GPU_HEALTHY: Final = "GpuHealthy"

# Annotations of namespaces: defaults and maxima for their containers. Values are Kubernetes quantities.
ANNOTATION_DEFAULT_MEMORY: Final = f"{DOMAIN}/default-memory"
"""MiB on each GPU for containers that name only a number of GPUs; without it they get whole GPUs."""
ANNOTATION_DEFAULT_CORES: Final = f"{DOMAIN}/default-cores"
"""Percent of each GPU for shares that name no cores; without it their compute time isn't limited."""
ANNOTATION_MAX_GPUS: Final = f"{DOMAIN}/max-gpus"
ANNOTATION_MAX_MEMORY: Final = f"{DOMAIN}/max-memory"
"""MiB on each GPU. If it is set, whole GPUs and memory in percent or without a limit are refused."""
ANNOTATION_MAX_CORES: Final = f"{DOMAIN}/max-cores"
"""Percent of each GPU. If it is set, whole GPUs and compute time without a limit are refused."""
ANNOTATION_ISOLATION: Final = f"{DOMAIN}/isolation"
"""`required`: authors can't switch isolation off in this namespace; `optional`: they can. Absent: as in the chart."""

# Annotations and labels of nodes.
ANNOTATION_INVENTORY: Final = f"{DOMAIN}/inventory"
"""The node's GPUs as the node agent sees them; see unigpu.gpus."""
ANNOTATION_PUBLISHED: Final = f"{DOMAIN}/published-resources"
"""Vendors' resources, comma-separated, whose capacity on the node the node agent wrote."""
ANNOTATION_WALLS: Final = f"{DOMAIN}/walls"
"""Which walls hold the node's containers to their memory, written by the node agent; see unigpu.walls."""
ANNOTATION_CORDONED: Final = f"{DOMAIN}/cordoned"
"""The node's GPUs on which nothing new is placed, written by `kubectl unigpu cordon`; see unigpu.cordons."""
ANNOTATION_LOWERABLE: Final = f"{DOMAIN}/lowerable"
"""What the node's containers could do without, written by the node agent; see unigpu.lowering."""
LABEL_MODE: Final = f"{DOMAIN}/mode"
LABEL_ACK_SCHEDULE: Final = "ack.node.gpu.schedule"
LABEL_ACK_PLACEMENT: Final = "ack.node.gpu.placement"
LABEL_CGPU_DISABLE_ISOLATION: Final = "cgpu.disable.isolation"
LABEL_QGPU_POLICY: Final = "tke.cloud.tencent.com/qgpu-schedule-policy"
"""`fixed-share`, `burst-share` or `best-effort`: the compute policy of qGPU's pods on the node."""

LABELS_OPERATOR: Final = (
    "nvidia.com/gpu.deploy.client",
    "nvidia.com/gpu.deploy.operator-validator",
    "nvidia.com/gpu.deploy.device-plugin",
)
"""NVIDIA's operator gives them a value of OPERATOR_PAUSES while nothing may use the driver. `client` is for programs of
others, from release 26.7 on; a node without the operator has none of them."""
OPERATOR_PAUSES: Final = ("paused-for-driver-upgrade", "paused-for-mig-change")

# Labels of objects.
LABEL_COMPONENT: Final = "app.kubernetes.io/component"

SCHEDULER_NAME: Final = "unigpu-scheduler"
SYSTEM_NAMESPACE: Final = "unigpu-system"

# Objects of the chart.
SERVICE_WEBHOOK: Final = "unigpu-webhook"
SECRET_WEBHOOK_TLS: Final = "unigpu-webhook-tls"
WEBHOOK_ADVICE: Final = f"advise.{DOMAIN}"
"""The webhook that only warns, and whose failure policy is always Ignore."""
WEBHOOK_NOTICE: Final = f"notice.{DOMAIN}"
"""The same, for pods that ask for no GPU and look as if they should."""
WEBHOOK_CONFIGURATION: Final = "unigpu-webhook"
"""Name of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration."""
ACCOUNT_SCHEDULER: Final = "unigpu-scheduler"
ACCOUNT_NODE_AGENT: Final = "unigpu-node-agent"
"""This account and ACCOUNT_SCHEDULER may write the annotations that only unigpu writes."""

# Vendors' fields that are used outside their dialect: keys of `Request.original_fields`. Values are plain whole
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
"""`300m`, `1g` or bytes, for every GPU, or with `_<index>` for one.
Above the container's limit it is a wish; see unigpu.wishes."""
ENV_CORE_LIMIT: Final = "CUDA_DEVICE_SM_LIMIT"
"""Percent, for every GPU, or with `_<index>` for one. Likewise."""
ENV_INJECTED_LIMITS: Final = "UNIGPU_INJECTED_LIMITS"
"""The limit variables that the node agent set at the container's start, as `NAME=value` joined by `;`. libvgpu ignores
a limit variable that still has that value, so it doesn't hold down a limit that is raised later."""
ENV_FAMILY_ACCOUNT: Final = "UNIGPU_FAMILY_ACCOUNT"
"""Set by libvgpu itself, outside Kubernetes: where programs that a limited program starts find the account of both."""
ENV_SHARED_CACHE: Final = "CUDA_DEVICE_MEMORY_SHARED_CACHE"
"""Usage file that several programs without a policy share."""
ENV_LIBRARY_LOG: Final = "UNIGPU_LOG"
"""Level of libvgpu's messages on stderr: `error` (default), `info`, `debug`, `none`."""
ENV_MANAGED: Final = "UNIGPU_MANAGED"
"""Set by the node agent in every container that it serves; libvgpu then refuses GPU memory if the policy is missing."""
ENV_TRIAL_POLICY: Final = "UNIGPU_POLICY"
"""Policy file for a trial outside Kubernetes; ignored in a managed container."""
ENV_TRIAL_USAGE: Final = "UNIGPU_USAGE"
"""Usage file of such a trial."""
ENV_SIM_DIR: Final = "UNIGPU_SIM_DIR"
"""Folder of the simulator's state."""
ENV_NVIDIA_VISIBLE_DEVICES: Final = "NVIDIA_VISIBLE_DEVICES"
"""`void` makes NVIDIA's runtime hook, if one is installed, add nothing."""
ENV_NVIDIA_DRIVER_CAPABILITIES: Final = "NVIDIA_DRIVER_CAPABILITIES"
"""Which parts of the driver a container asks for; see unigpu.driver_parts."""
ENV_ALIYUN_INDEX: Final = "ALIYUN_COM_GPU_MEM_IDX"
"""NVML indexes of the container's GPUs, comma-separated. Programs written for gpushare read this and the next three,
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
"""Used instead of LD_PRELOAD, so that an image's or a user's value of that variable is never overwritten."""
CONTAINER_DRIVER_FOLDERS: Final = {
    "x86_64": ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"),
    "aarch64": ("/usr/lib/aarch64-linux-gnu", "/usr/lib64"),
}
"""Default search folders of the dynamic linker in Debian's and in Red Hat's family, by the machine's name."""

IMAGE_LIBRARY: Final = "/opt/unigpu/lib/libvgpu.so"
"""libvgpu in the services' image; the node agent copies it to the node."""

# Paths on nodes.
NODE_ROOT: Final = "/var/lib/unigpu"
NODE_CONTAINERS: Final = f"{NODE_ROOT}/containers"
"""One folder for each container, `<pod UID>/<container name>/`, with `grant.json`, `policy` and `usage`."""
NODE_LIBRARY: Final = f"{NODE_ROOT}/lib/libvgpu.so"
NODE_CDI: Final = "/var/run/cdi"
KUBELET_PLUGINS: Final = "/var/lib/kubelet/device-plugins"
KUBELET_CHECKPOINT: Final = f"{KUBELET_PLUGINS}/kubelet_internal_checkpoint"
KUBELET_POD_RESOURCES: Final = "/var/lib/kubelet/pod-resources/kubelet.sock"
PLUGIN_SOCKET: Final = "unigpu.sock"

CDI_KIND: Final = RESOURCE_VGPU
"""Kind of the CDI devices `unigpu.dev/vgpu=<slot>`, each for one container alone."""
CDI_COMMON: Final = f"{DOMAIN}/driver=node"
"""The CDI device common to all containers of a node: libvgpu and the driver's libraries."""

# Ports of pods.
PORT_WEBHOOK: Final = 8443
PORT_WEBHOOK_METRICS: Final = 8080
PORT_EXTENDER: Final = 8888
"""On loopback only: the extender has no authentication, so only the kube-scheduler in its own pod may reach it."""
PORT_EXTENDER_METRICS: Final = 8889
PORT_PAGE: Final = 8890
PORT_PAGE_METRICS: Final = 8891
PORT_EXPORTER: Final = 9400
PORT_PLUGIN_HEALTH: Final = 9401

HEADER_TOKEN: Final = "X-Unigpu-Token"
"""The viewer's token in requests to the page, where a proxy between both takes Authorization for itself."""

# Metrics.
METRIC_PAGE_REQUESTS: Final = "unigpu_page_requests_total"
METRIC_PAGE_DURATION: Final = "unigpu_page_request_duration_seconds"
METRIC_PAGE_VIEWERS: Final = "unigpu_page_viewers"
METRIC_WEBHOOK_REVIEWS: Final = "unigpu_webhook_reviews_total"
METRIC_WEBHOOK_SECONDS: Final = "unigpu_webhook_review_duration_seconds"
METRIC_WEBHOOK_SKIPPED: Final = "unigpu_webhook_skipped_pods"
METRIC_WEBHOOK_EXPIRY: Final = "unigpu_webhook_certificate_expiry_timestamp_seconds"
METRIC_MEMORY_USED: Final = "unigpu_container_memory_used_bytes"
METRIC_MEMORY_KIND: Final = "unigpu_container_memory_kind_bytes"
METRIC_MEMORY_PEAK: Final = "unigpu_container_memory_peak_bytes"
METRIC_MEMORY_LIMIT: Final = "unigpu_container_memory_limit_bytes"
METRIC_ALLOCATION_FAILURES: Final = "unigpu_container_memory_allocation_failures_total"
METRIC_CORES_LIMIT: Final = "unigpu_container_cores_limit_ratio"
METRIC_CORES_CEILING: Final = "unigpu_container_cores_ceiling_ratio"
METRIC_CORES_CURRENT: Final = "unigpu_container_cores_current_ratio"
METRIC_COMPUTE_SECONDS: Final = "unigpu_container_gpu_seconds_total"
METRIC_THROTTLED_SECONDS: Final = "unigpu_container_throttled_seconds_total"
METRIC_THROTTLED_LAUNCHES: Final = "unigpu_container_throttled_launches_total"
METRIC_LAUNCHES: Final = "unigpu_container_launches_total"
METRIC_GPU_MEMORY_TOTAL: Final = "unigpu_gpu_memory_total_bytes"
METRIC_GPU_MEMORY_USED: Final = "unigpu_gpu_memory_used_bytes"
METRIC_GPU_MEMORY_GRANTED: Final = "unigpu_gpu_memory_granted_bytes"
METRIC_GPU_MEMORY_FREE: Final = "unigpu_gpu_memory_free_bytes"
METRIC_GPU_CORES_FREE: Final = "unigpu_gpu_cores_free_ratio"
METRIC_CONTAINER_PROCESSES: Final = "unigpu_container_processes"
METRIC_CONTAINER_INFO: Final = "unigpu_container_info"
METRIC_CONTAINER_UNREADABLE: Final = "unigpu_container_unreadable"
METRIC_CONTAINER_WALL: Final = "unigpu_container_wall"
METRIC_CONTAINER_BREACH: Final = "unigpu_container_breach"
METRIC_GPU_FOREIGN: Final = "unigpu_gpu_foreign_memory_bytes"
METRIC_GPU_FAULT: Final = "unigpu_gpu_fault_info"
METRIC_NODE_WALL: Final = "unigpu_node_wall"
METRIC_GPU_SHARES: Final = "unigpu_gpu_shares"
METRIC_GPU_UTILISATION: Final = "unigpu_gpu_utilisation_ratio"
METRIC_GPU_TEMPERATURE: Final = "unigpu_gpu_temperature_celsius"
METRIC_GPU_POWER: Final = "unigpu_gpu_power_watts"
METRIC_GPU_CLOCK: Final = "unigpu_gpu_clock_hertz"
METRIC_GPU_HEALTHY: Final = "unigpu_gpu_healthy"
METRIC_AGENT_READY: Final = "unigpu_agent_ready"
METRIC_AGENT_UNREADY: Final = "unigpu_agent_unready_info"
METRIC_AGENT_GRANTS: Final = "unigpu_agent_grants"
METRIC_AGENT_ALLOCATION: Final = "unigpu_agent_allocation_duration_seconds"
METRIC_AGENT_LIMIT_CHANGES: Final = "unigpu_agent_limit_changes_total"
METRIC_AGENT_USAGE_FILE_CUTS: Final = "unigpu_agent_usage_file_cuts_total"
METRIC_EXPORTER_DRIVER: Final = "unigpu_exporter_driver_up"
METRIC_EXPORTER_DURATION: Final = "unigpu_exporter_collect_duration_seconds"
METRIC_SCHEDULER_DURATION: Final = "unigpu_scheduler_request_duration_seconds"
METRIC_SCHEDULER_NODES: Final = "unigpu_scheduler_nodes"
METRIC_SCHEDULER_GPUS: Final = "unigpu_scheduler_gpus"
METRIC_SCHEDULER_PODS: Final = "unigpu_scheduler_pods"
METRIC_SCHEDULER_ASSUMED: Final = "unigpu_scheduler_assumed_pods"
METRIC_SCHEDULER_OVERBOOKED: Final = "unigpu_scheduler_overbooked_gpus"
METRIC_SCHEDULER_CORDONED: Final = "unigpu_scheduler_cordoned_gpus"
METRIC_SCHEDULER_FRAGMENTATION: Final = "unigpu_scheduler_fragmentation_ratio"
METRIC_SCHEDULER_NODE_FRAGMENTATION: Final = "unigpu_scheduler_node_fragmentation_ratio"
METRIC_SCHEDULER_GPU_FRAGMENTATION: Final = "unigpu_scheduler_gpu_fragmentation_ratio"
METRIC_SCHEDULER_FREE_MEMORY: Final = "unigpu_scheduler_free_memory_bytes"
METRIC_SCHEDULER_FREE_CORES: Final = "unigpu_scheduler_free_cores_ratio"
METRIC_SCHEDULER_TYPICAL_MEMORY: Final = "unigpu_scheduler_typical_share_memory_bytes"
METRIC_SCHEDULER_TYPICAL_CORES: Final = "unigpu_scheduler_typical_share_cores_ratio"
METRIC_SCHEDULER_RELISTS: Final = "unigpu_scheduler_relists_total"
