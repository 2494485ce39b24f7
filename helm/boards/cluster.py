"""The cluster: what GPUs there are, who has and uses them, and whether unigpu is well."""

from helm.boards.model import Board, Panel, Query, stat

CLUSTER = Board(
    "cluster",
    "unigpu / Cluster",
    "GPUs of the cluster: what there is, who has it, who uses it, and whether unigpu itself is well.",
    (),
    (
        stat("GPUs", "GPUs that the scheduler can place on.", "short", "max(unigpu_scheduler_gpus)"),
        stat("GPU nodes", "Nodes with GPUs.", "short", "max(unigpu_scheduler_nodes)"),
        stat("Pods with GPUs", "Pods that have a share or whole GPUs.", "short", "max(unigpu_scheduler_pods)"),
        stat(
            "Unhealthy GPUs",
            "GPUs with a fault, or not fit to be shared. Nothing new is placed on them.",
            "short",
            "count(unigpu_gpu_healthy == 0) or vector(0)",
            alarming=True,
        ),
        stat(
            "Skipped pods",
            "GPU pods that no webhook translated when they were created.",
            "short",
            "max(unigpu_webhook_skipped_pods)",
            alarming=True,
        ),
        stat(
            "Certificate",
            "Time until the webhook's certificate expires. It is renewed with a month left.",
            "s",
            "min(unigpu_webhook_certificate_expiry_timestamp_seconds) - time()",
        ),
        stat(
            "Overbooked GPUs",
            "GPUs with more allocated than they have. Another program allocates them too.",
            "short",
            "max(unigpu_scheduler_overbooked_gpus)",
            alarming=True,
        ),
        stat(
            "Breaches",
            "Containers that use more of a GPU than they were granted.",
            "short",
            "count(count by (namespace, pod, container) (unigpu_container_breach)) or vector(0)",
            alarming=True,
        ),
        stat(
            "Foreign memory",
            "GPU memory in use that no container was granted.",
            "bytes",
            "sum(unigpu_gpu_foreign_memory_bytes)",
            alarming=True,
        ),
        stat(
            "Cordoned GPUs",
            "GPUs on which nothing new is placed.",
            "short",
            "sum(unigpu_scheduler_cordoned_gpus) or vector(0)",
        ),
        stat(
            "Typical share",
            "Memory of the share by which fragmentation is measured.",
            "bytes",
            "max(unigpu_scheduler_typical_share_memory_bytes)",
        ),
        stat(
            "Typical compute",
            "Compute time of that share: 100 % is a whole GPU.",
            "percentunit",
            "max(unigpu_scheduler_typical_share_cores_ratio)",
        ),
        Panel(
            "GPU memory",
            "Memory of all GPUs: in use as the driver says, granted to containers, and in all.",
            "bytes",
            (
                Query("sum(unigpu_gpu_memory_used_bytes)", "used"),
                Query("sum(unigpu_gpu_memory_granted_bytes)", "granted"),
                Query("sum(unigpu_gpu_memory_total_bytes)", "total"),
            ),
        ),
        Panel(
            "GPUs in use by namespace",
            "GPU time charged per second: 1.5 is one and a half GPUs.",
            "short",
            (
                Query(
                    "sum by (namespace) (rate(unigpu_container_gpu_seconds_total[$__rate_interval]))", "{{namespace}}"
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Memory reserved by namespace",
            "Memory that containers may have. A container without a limit reserves none.",
            "bytes",
            (Query("sum by (namespace) (unigpu_container_memory_limit_bytes)", "{{namespace}}"),),
            stacked=True,
        ),
        Panel(
            "Free memory by node",
            "Memory of healthy GPUs that is neither granted nor in use without a grant. A share fits only if one GPU"
            " has enough of it.",
            "bytes",
            (Query("sum by (node) (unigpu_gpu_memory_free_bytes)", "{{node}}"),),
        ),
        Panel(
            "Utilisation by node",
            "Part of the time in which a kernel ran, averaged over the node's GPUs.",
            "percentunit",
            (Query("avg by (node) (unigpu_gpu_utilisation_ratio)", "{{node}}"),),
        ),
        Panel(
            "Failed allocations by namespace",
            "Allocations per second that would have exceeded a container's memory limit.",
            "ops",
            (
                Query(
                    "sum by (namespace)"
                    " (rate(unigpu_container_memory_allocation_failures_total[$__rate_interval])) > 0",
                    "{{namespace}}",
                ),
            ),
        ),
        Panel(
            "Scheduler extender, p99",
            "99 of 100 requests of kube-scheduler are answered within this time.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (verb, le)"
                    " (rate(unigpu_scheduler_request_duration_seconds_bucket[$__rate_interval])))",
                    "{{verb}}",
                ),
            ),
        ),
        Panel(
            "Webhook, p99",
            "99 of 100 reviews are answered within this time.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (path, le)"
                    " (rate(unigpu_webhook_review_duration_seconds_bucket[$__rate_interval])))",
                    "{{path}}",
                ),
            ),
        ),
        Panel(
            "Reviews by outcome",
            "Reviews per second. Refused pods get a reason; forged ones bring annotations that only unigpu may write.",
            "ops",
            (
                Query(
                    'sum by (outcome) (rate(unigpu_webhook_reviews_total{outcome!="untouched"}[$__rate_interval]))',
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Extender requests by outcome",
            "Requests of kube-scheduler per second, by verb and outcome.",
            "ops",
            (
                Query(
                    "sum by (verb, outcome) (rate(unigpu_scheduler_request_duration_seconds_count[$__rate_interval]))",
                    "{{verb}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Fragmentation",
            "Part of the free memory and compute that no typical share, or no whole container, can use.",
            "percentunit",
            (Query("max by (resource, by) (unigpu_scheduler_fragmentation_ratio)", "{{resource}}, by {{by}}"),),
        ),
        Panel(
            "Nodes with the most fragmentation",
            "Part of a node's free memory or compute that no typical share can use.",
            "percentunit",
            (
                Query(
                    'topk(10, max by (node, resource) (unigpu_scheduler_node_fragmentation_ratio{by="share"}))',
                    "{{node}} {{resource}}",
                ),
            ),
        ),
        Panel(
            "Free memory",
            "Memory that is free on GPUs of nodes that take shares, or whole containers.",
            "bytes",
            (Query("max by (by) (unigpu_scheduler_free_memory_bytes)", "for {{by}}"),),
        ),
        Panel(
            "Free compute",
            "Compute time that is free on the same GPUs: 1 is a whole GPU.",
            "short",
            (Query("max by (by) (unigpu_scheduler_free_cores_ratio)", "for {{by}}"),),
        ),
        Panel(
            "Scheduler extender and the API server",
            "Pods whose binding the API server hasn't shown yet, and lists of all nodes or pods in 5 minutes.",
            "short",
            (
                Query("max(unigpu_scheduler_assumed_pods)", "assumed pods"),
                Query("sum(increase(unigpu_scheduler_relists_total[5m]))", "lists"),
            ),
        ),
        Panel(
            "Unhealthy GPUs, and why",
            "GPUs with a fault: its reason, and since when. Empty while all are healthy.",
            "short",
            (Query("unigpu_gpu_fault_info"),),
            kind="table",
        ),
    ),
)
