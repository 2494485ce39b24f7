"""One pod: what its containers have, use and wait for."""

from helm.boards.model import NAMESPACE, POD, Board, Panel, Query

_OF_POD = '{namespace="$namespace", pod="$pod"}'
_SERIES = "{{container}} on {{gpu}}"
POD_BOARD = Board(
    "pod",
    "unigpu / Pod",
    "What one pod's containers have of each GPU, what they use, and what they wait for.",
    (NAMESPACE, POD),
    (
        Panel(
            "Memory",
            "Memory in use, the most that was, and the limit, by container and GPU. A limit of 0: there is none.",
            "bytes",
            (
                Query(f"unigpu_container_memory_used_bytes{_OF_POD}", f"{_SERIES}: used"),
                Query(f"unigpu_container_memory_peak_bytes{_OF_POD}", f"{_SERIES}: peak"),
                Query(f"unigpu_container_memory_limit_bytes{_OF_POD}", f"{_SERIES}: limit"),
            ),
        ),
        Panel(
            "Memory by kind",
            "What the memory in use is: data, contexts, code, and what the driver took unasked. It adds up to Memory.",
            "bytes",
            (
                Query(
                    f"sum by (container, gpu, kind) (unigpu_container_memory_kind_bytes{_OF_POD})",
                    f"{_SERIES}: {{{{kind}}}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Launches",
            "Launches of kernels and graphs per second.",
            "ops",
            (Query(f"rate(unigpu_container_launches_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Compute",
            "Part of the GPU's time: charged, the share, and the ceiling of a soft share while others are idle.",
            "percentunit",
            (
                Query(f"rate(unigpu_container_gpu_seconds_total{_OF_POD}[$__rate_interval])", f"{_SERIES}: used"),
                Query(f"unigpu_container_cores_limit_ratio{_OF_POD}", f"{_SERIES}: share"),
                Query(f"unigpu_container_cores_ceiling_ratio{_OF_POD}", f"{_SERIES}: ceiling"),
            ),
        ),
        Panel(
            "Compute that it may use now",
            "The share, with what it was lent and without what it yields. Absent where compute isn't limited.",
            "percentunit",
            (Query(f"unigpu_container_cores_current_ratio{_OF_POD}", _SERIES),),
        ),
        Panel(
            "Waiting for compute",
            "Seconds per second that kernel launches wait for the share, summed over launches.",
            "short",
            (Query(f"rate(unigpu_container_throttled_seconds_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Launches that wait",
            "Kernel launches per second that waited for the share.",
            "ops",
            (Query(f"rate(unigpu_container_throttled_launches_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Failed allocations",
            "Allocations per second that would have exceeded the memory limit.",
            "ops",
            (Query(f"rate(unigpu_container_memory_allocation_failures_total{_OF_POD}[$__rate_interval])", _SERIES),),
        ),
        Panel(
            "Processes",
            "Living processes that use the container's GPUs.",
            "short",
            (Query(f"unigpu_container_processes{_OF_POD}", "{{container}}"),),
        ),
        Panel(
            "Walls",
            "What holds each container to its memory: 1 where a wall stands, 0 where it doesn't.",
            "short",
            (Query(f"unigpu_container_wall{_OF_POD}", "{{container}}: {{wall}}"),),
            width=24,
        ),
        Panel(
            "Shares",
            "What each container has: its GPU, dialect, and what is enforced.",
            "short",
            (Query(f"unigpu_container_info{_OF_POD}"),),
            kind="table",
            width=24,
        ),
    ),
)
