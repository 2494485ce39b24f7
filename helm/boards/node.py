"""One node: its GPUs, and the containers on them."""

from helm.boards.model import NODE, Board, Panel, Query, stat

_OF_NODE = '{node="$node"}'
NODE_BOARD = Board(
    "node",
    "unigpu / Node",
    "The GPUs of one node, and the containers on them.",
    (NODE,),
    (
        stat("GPUs", "GPUs that the exporter knows.", "short", f"count(unigpu_gpu_shares{_OF_NODE})"),
        stat("Shares", "Containers that have a share of a GPU.", "short", f"sum(unigpu_gpu_shares{_OF_NODE})"),
        stat(
            "Unhealthy GPUs",
            "GPUs with a fault, or not fit to be shared. Nothing new is placed on them.",
            "short",
            f"count(unigpu_gpu_healthy{_OF_NODE} == 0) or vector(0)",
            alarming=True,
        ),
        stat(
            "Unreadable files",
            "Files of containers that are torn or foreign.",
            "short",
            f"sum(unigpu_container_unreadable{_OF_NODE}) or vector(0)",
            alarming=True,
        ),
        stat("Driver", "1: NVML answers; 0: it doesn't.", "short", f"min(unigpu_exporter_driver_up{_OF_NODE})"),
        stat(
            "Scrape",
            "Time that the exporter needs for its page.",
            "s",
            f"max(unigpu_exporter_collect_duration_seconds{_OF_NODE})",
        ),
        Panel(
            "Memory used by GPU",
            "Part of each GPU's memory that is in use, as the driver says.",
            "percentunit",
            (
                Query(
                    f"unigpu_gpu_memory_used_bytes{_OF_NODE} / unigpu_gpu_memory_total_bytes{_OF_NODE}", "GPU {{gpu}}"
                ),
            ),
        ),
        Panel(
            "Memory granted by GPU",
            "Part of each GPU's memory that containers may have. More than 100 % never happens unless another program"
            " allocates.",
            "percentunit",
            (
                Query(
                    f"unigpu_gpu_memory_granted_bytes{_OF_NODE} / unigpu_gpu_memory_total_bytes{_OF_NODE}",
                    "GPU {{gpu}}",
                ),
            ),
        ),
        Panel(
            "Utilisation by GPU",
            "Part of the time in which a kernel ran.",
            "percentunit",
            (Query(f"unigpu_gpu_utilisation_ratio{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Shares by GPU",
            "Containers that have a share of each GPU.",
            "short",
            (Query(f"unigpu_gpu_shares{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Compute by container",
            "GPU time charged per second: 100 % is a whole GPU.",
            "percentunit",
            (
                Query(
                    "sum by (namespace, pod, container, gpu)"
                    f" (rate(unigpu_container_gpu_seconds_total{_OF_NODE}[$__rate_interval]))",
                    "{{namespace}}/{{pod}} {{container}} on {{gpu}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Memory by container",
            "Memory that each container uses, its CUDA contexts included.",
            "bytes",
            (
                Query(
                    f"sum by (namespace, pod, container, gpu) (unigpu_container_memory_used_bytes{_OF_NODE})",
                    "{{namespace}}/{{pod}} {{container}} on {{gpu}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Foreign memory by GPU",
            "Memory in use that no container was granted. It counts as taken until it is free.",
            "bytes",
            (Query(f"unigpu_gpu_foreign_memory_bytes{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Free memory by GPU",
            "Memory that is neither granted nor in use without a grant.",
            "bytes",
            (Query(f"unigpu_gpu_memory_free_bytes{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Free compute by GPU",
            "Compute time that isn't granted.",
            "percentunit",
            (Query(f"unigpu_gpu_cores_free_ratio{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Free memory that no typical share can use",
            "The free memory of GPUs on which a typical share doesn't fit; 0 where one does.",
            "bytes",
            (
                Query(
                    f"unigpu_gpu_memory_free_bytes{_OF_NODE} * on (node, uuid) group_left max by (node, uuid)"
                    f' (unigpu_scheduler_gpu_fragmentation_ratio{{node="$node", resource="memory"}})'
                    f" or 0 * unigpu_gpu_memory_free_bytes{_OF_NODE}",
                    "GPU {{gpu}}",
                ),
            ),
        ),
        Panel(
            "Fragmentation",
            "Part of the node's free memory or compute that no typical share, or no whole container, can use; 0 where"
            " nothing is shown.",
            "percentunit",
            (
                Query(
                    f"max by (resource, by) (unigpu_scheduler_node_fragmentation_ratio{_OF_NODE})",
                    "{{resource}}, by {{by}}",
                ),
            ),
        ),
        Panel(
            "Temperature by GPU",
            "Temperature of each GPU. Absent where the GPU has no sensor.",
            "celsius",
            (Query(f"unigpu_gpu_temperature_celsius{_OF_NODE}", "GPU {{gpu}}"),),
        ),
        Panel(
            "Power by GPU",
            "Power that each GPU draws.",
            "watt",
            (Query(f"unigpu_gpu_power_watts{_OF_NODE}", "GPU {{gpu}}"),),
            stacked=True,
        ),
        Panel(
            "Clocks by GPU",
            "Frequencies of streaming multiprocessors and of memory. They fall on a GPU that is idle or too hot.",
            "hertz",
            (Query(f"unigpu_gpu_clock_hertz{_OF_NODE}", "GPU {{gpu}} {{clock}}"),),
            width=24,
        ),
        Panel(
            "Starts of containers",
            "Containers that the node agent prepared per second, by outcome. After all but allocated the kubelet asks"
            " again.",
            "short",
            (
                Query(
                    "sum by (outcome)"
                    f" (rate(unigpu_agent_allocation_duration_seconds_count{_OF_NODE}[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Time to prepare a container",
            "Nine in ten containers were prepared in this time.",
            "s",
            (
                Query(
                    "histogram_quantile(0.9, sum by (le)"
                    f" (rate(unigpu_agent_allocation_duration_seconds_bucket{_OF_NODE}[$__rate_interval])))",
                    "90 %",
                ),
            ),
        ),
        Panel(
            "Node agent",
            "Whether containers with GPUs can start on the node (ready is 1), and containers that have GPUs.",
            "short",
            (
                Query(f"min(unigpu_agent_ready{_OF_NODE})", "ready"),
                Query(f"max(unigpu_agent_grants{_OF_NODE})", "containers"),
            ),
        ),
        Panel(
            "Node agent: why it isn't ready",
            "What keeps containers with GPUs from starting on the node. Empty while nothing does.",
            "short",
            (Query(f"unigpu_agent_unready_info{_OF_NODE}"),),
            kind="table",
        ),
        Panel(
            "Changes of limits",
            "Changes of running pods' limits per second, put in force or refused.",
            "short",
            (
                Query(
                    f"sum by (outcome) (rate(unigpu_agent_limit_changes_total{_OF_NODE}[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Walls",
            "What holds the node's containers to their memory: 1 where a wall stands, 0 where the node lacks it.",
            "short",
            (Query(f"min by (wall) (unigpu_node_wall{_OF_NODE})", "{{wall}}"),),
        ),
        Panel(
            "Usage files cut back",
            "How often per second the node agent cut back a usage file that a container had made longer."
            " Nothing but an attack makes one longer.",
            "short",
            (Query(f"sum(rate(unigpu_agent_usage_file_cuts_total{_OF_NODE}[$__rate_interval]))", "files"),),
        ),
        Panel(
            "Breaches",
            "Containers that use more of a GPU than they were granted. Empty while there are none.",
            "short",
            (Query(f"unigpu_container_breach{_OF_NODE}"),),
            kind="table",
        ),
        Panel(
            "Unhealthy GPUs, and why",
            "GPUs with a fault: its reason, and since when. Empty while all are healthy.",
            "short",
            (Query(f"unigpu_gpu_fault_info{_OF_NODE}"),),
            kind="table",
        ),
    ),
)
