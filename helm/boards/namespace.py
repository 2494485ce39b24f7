"""One namespace: what it has of the GPUs, and what it uses."""

from helm.boards.model import NAMESPACE, Board, Panel, Query, stat

_OF_NAMESPACE = '{namespace="$namespace"}'
NAMESPACE_BOARD = Board(
    "namespace",
    "unigpu / Namespace",
    "What one namespace has of the cluster's GPUs, and what it uses.",
    (NAMESPACE,),
    (
        stat(
            "GPUs in use",
            "GPU time charged per second in the last 5 minutes.",
            "short",
            f"sum(rate(unigpu_container_gpu_seconds_total{_OF_NAMESPACE}[5m]))",
        ),
        stat(
            "GPU time",
            "GPU seconds charged in the range that is shown.",
            "s",
            f"sum(increase(unigpu_container_gpu_seconds_total{_OF_NAMESPACE}[$__range]))",
        ),
        stat(
            "Memory reserved",
            "Memory that the containers may have.",
            "bytes",
            f"sum(unigpu_container_memory_limit_bytes{_OF_NAMESPACE})",
        ),
        stat(
            "Memory used",
            "Memory that the containers use.",
            "bytes",
            f"sum(unigpu_container_memory_used_bytes{_OF_NAMESPACE})",
        ),
        stat(
            "Pods",
            "Pods with GPUs.",
            "short",
            f"count(count by (pod) (unigpu_container_info{_OF_NAMESPACE}))",
        ),
        stat(
            "Failed allocations",
            "Allocations beyond a memory limit, in the range that is shown.",
            "short",
            f"sum(increase(unigpu_container_memory_allocation_failures_total{_OF_NAMESPACE}[$__range]))",
            alarming=True,
        ),
        Panel(
            "Compute by pod",
            "GPU time charged per second: 1 is a whole GPU.",
            "short",
            (
                Query(
                    f"sum by (pod) (rate(unigpu_container_gpu_seconds_total{_OF_NAMESPACE}[$__rate_interval]))",
                    "{{pod}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Memory by pod",
            "Memory that each pod uses.",
            "bytes",
            (Query(f"sum by (pod) (unigpu_container_memory_used_bytes{_OF_NAMESPACE})", "{{pod}}"),),
            stacked=True,
        ),
        Panel(
            "How full the shares are",
            "Memory in use as part of the limit. Containers without a limit are left out.",
            "percentunit",
            (
                Query(
                    f"unigpu_container_memory_used_bytes{_OF_NAMESPACE}"
                    f" / (unigpu_container_memory_limit_bytes{_OF_NAMESPACE} > 0)",
                    "{{pod}} {{container}} on {{gpu}}",
                ),
            ),
        ),
        Panel(
            "Waiting for compute by pod",
            "Seconds per second that kernel launches wait for the container's share, summed over launches.",
            "short",
            (
                Query(
                    f"sum by (pod) (rate(unigpu_container_throttled_seconds_total{_OF_NAMESPACE}[$__rate_interval]))",
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Shares by dialect",
            "Shares of GPUs, by the vendor's fields that the pods were written with.",
            "short",
            (Query(f"count by (dialect) (unigpu_container_info{_OF_NAMESPACE})", "{{dialect}}"),),
            stacked=True,
        ),
        Panel(
            "Compute reserved by pod",
            "Compute time that each pod reserves: 1 is a whole GPU. A container without a limit reserves none.",
            "short",
            (Query(f"sum by (pod) (unigpu_container_cores_limit_ratio{_OF_NAMESPACE})", "{{pod}}"),),
            stacked=True,
        ),
    ),
)
