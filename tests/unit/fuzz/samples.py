"""What each parser reads when nothing is wrong with it; generated inputs begin with these."""

import json
from datetime import UTC, datetime, timedelta

from unigpu import (
    allocations,
    names,
    policy,
    requests,
    usage,
)
from unigpu.gpus import Gpu
from unigpu.policy import GpuLimit, Policy
from unigpu.units import Bytes, GpuUuid, MiB, Percent
from webhook.tls import certificates

REQUEST = {"version": 1, "containers": {"main": {"gpus": 1, "memory": 1024, "cores": 10, "dialect": "hami"}}}
LOWERABLE = {"version": 1, "containers": [["uid-1", "main", [0], [4096, 1024], [50, 5]]]}
LOWERED = {"version": 1, "for": "ns/pod", "at": 1767225600, "before": None, "wrote": '{"main":{"memory":1024}}'}
GPUS = (Gpu(GpuUuid("GPU-1"), 0, 0, "X", MiB(16384)),)
ALLOCATION = {
    "version": 1,
    "node": "node-1",
    "containers": {"main": [{"gpu": "GPU-1", "memory": 1024, "cores": 10, "whole": False}]},
}
INVENTORY = {
    "version": 1,
    "gpus": [
        {
            "uuid": "GPU-1",
            "index": 0,
            "minor": 0,
            "model": "H100",
            "memory": 81920,
            "healthy": False,
            "links": {"GPU-2": 100},
            "bus": "00000000:01:00.0",
            "fault": {"reason": "XID 79", "since": "2026-01-01T00:00:00Z", "epoch": "boot"},
            "foreign": 640,
        }
    ],
}
GRANT = {
    "version": 1,
    "namespace": "team",
    "pod": "training",
    "pod_uid": "uid",
    "container": "main",
    "slots": ["slot-1"],
    "shares": [{"gpu": "GPU-1", "memory": 1024, "cores": 10, "whole": False}],
    "indexes": {"GPU-1": 0},
    "isolated": True,
    "dialect": "hami",
    "role": "main",
    "changes": 0,
    "boot": "boot",
}
WALLS = {"version": 1, "standing": ["libvgpu"], "missing": {"driver": "too old"}}
REPORT = {
    "version": 1,
    "boot": "boot",
    "inventory": json.dumps(INVENTORY),
    "walls": json.dumps(WALLS),
    "findings": [
        {
            "kind": "stranger",
            "gpu": "GPU-1",
            "pod_uid": "",
            "container": "",
            "memory": 1024,
            "allowed": 0,
            "since": "2026-01-01T00:00:00Z",
            "namespace": "",
            "pod": "",
        }
    ],
}
LIMITS = {"main": {"memory": 1024, "cores": 10, "ceiling": 80, "policy": "soft"}}
APPLIED = {"main": {"memory": 1024, "held": {"GPU-1": 3000}}}
CORDONED = {"GPU-1": {"reason": "fans", "since": "2026-01-31T12:00:00Z"}}
CHECKPOINT = {
    "Data": {
        "PodDeviceEntries": [
            {
                "PodUID": "uid",
                "ContainerName": "main",
                "ResourceName": names.RESOURCE_VGPU,
                "DeviceIDs": {"-1": ["slot-0001"]},
                "AllocResp": "",
            }
        ],
        "RegisteredDevices": {},
    },
    "Checksum": 1,
}
SPEC = {
    "devices": [
        {
            "containerEdits": {
                "mounts": [
                    {"containerPath": names.CONTAINER_POLICY, "hostPath": "/var/lib/unigpu/containers/u/c/policy"}
                ]
            }
        }
    ]
}
GPU_TELEMETRY = {
    "uuid": "GPU-1",
    "index": 0,
    "model": "T4",
    "total": 16 << 30,
    "used": 1 << 20,
    "utilisation": 5,
    "temperature": 41,
    "power": 63_500,
    "sm_clock": 1590,
    "memory_clock": 5000,
}
TELEMETRY = {"version": 1, "valid": 15, "gpus": [GPU_TELEMETRY]}
READING = {
    "gpus": [
        {
            "index": 0,
            "uuid": "GPU-1",
            "minor": 0,
            "model": "T4",
            "memory": 15360,
            "bus": "0",
            "recovery": 0,
            "links": {"GPU-2": 10},
            "telemetry": GPU_TELEMETRY,
        },
        {"uuid": None, "problem": "GPU is lost"},
    ],
    "xids": {"GPU-1": [79]},
    "session": "1",
}
PROCESSES = {"processes": {"GPU-1": [[7, 1024], [8, None]]}, "used": {"GPU-1": 1 << 30}}
POD = {
    "metadata": {
        "name": "pod",
        "namespace": "team",
        "uid": "uid",
        "resourceVersion": "7",
        "labels": {"aliyun.com/gpu-count": "2"},
        "annotations": {
            names.ANNOTATION_REQUEST: json.dumps(REQUEST),
            names.ANNOTATION_ALLOCATION: json.dumps(ALLOCATION),
            names.ANNOTATION_LIMITS: "memory=1Gi",
            names.ANNOTATION_LIMITS_APPLIED: json.dumps(APPLIED),
        },
    },
    "spec": {
        "nodeName": "node-1",
        "schedulerName": "unigpu-scheduler",
        "priority": 5,
        "initContainers": [{"name": "early", "restartPolicy": "Always", "env": [{"name": "A", "value": "1"}]}],
        "containers": [
            {
                "name": "main",
                "resources": {"limits": {names.RESOURCE_VGPU: "1"}, "requests": {names.RESOURCE_VGPU: "1"}},
                "env": [{"name": "B", "valueFrom": {}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
    },
    "status": {
        "phase": "Running",
        "conditions": [
            {
                "type": "PodReadyToStartContainers",
                "status": "False",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
        "initContainerStatuses": [
            {"name": "early", "state": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z", "exitCode": 0}}}
        ],
        "containerStatuses": [
            {
                "name": "main",
                "containerID": "containerd://abc",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                "lastState": {},
            }
        ],
    },
}
BUDGET = {
    "metadata": {"name": "web", "namespace": "team", "uid": "uid", "resourceVersion": "7"},
    "spec": {
        "selector": {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
        }
    },
    "status": {"disruptionsAllowed": 1, "disruptedPods": {"web-0": "2026-01-31T12:00:00Z"}},
}
LABELS = {names.LABEL_MODE: "cgpu", names.LABEL_ACK_SCHEDULE: "share", names.LABEL_QGPU_POLICY: "burst-share"}
NODE = {
    "metadata": {
        "name": "node-1",
        "labels": LABELS,
        "annotations": {
            names.ANNOTATION_INVENTORY: json.dumps(INVENTORY),
            names.ANNOTATION_CORDONED: json.dumps(CORDONED),
        },
    },
    "spec": {},
    "status": {},
}
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "subResource": "",
        "namespace": "team",
        "name": "pod",
        "userInfo": {"username": "somebody"},
        "dryRun": False,
        "object": {"metadata": {}, "spec": {}},
        "oldObject": None,
    },
}
CONTAINERD = 'imports = ["conf.d/*.toml"]\n[plugins."io.containerd.grpc.v1.cri"]\nenable_cdi = true\n'
NVIDIA_SPEC = {
    "kind": "nvidia.com/gpu",
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/dri/card0"}]}}
    ],
    "containerEdits": {
        "deviceNodes": [{"path": "/dev/nvidiactl", "hostPath": "/dev/nvidiactl"}],
        "mounts": [{"hostPath": "/usr/lib64/libcuda.so.575.64", "containerPath": "/usr/lib64/libcuda.so.575.64"}],
    },
}
CGROUP = (
    "12:memory:/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/" + "ab" * 32 + "\n"
    "0::/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-" + "ab" * 32 + ".scope\n"
)
PAGE = (
    "# HELP unigpu_container_memory_used_bytes Memory.\n# TYPE unigpu_container_memory_used_bytes gauge\n"
    'unigpu_container_memory_used_bytes{namespace="a",pod="b",container="c",uuid="GPU-1",node="n",gpu="0"} 1024\n'
    'unigpu_container_gpu_seconds_total{namespace="a",pod="b",container="c",uuid="GPU-1",node="n",gpu="0"} 1.5\n'
)
QUANTITY = "1.5Gi"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = certificates.to_secret(
    certificates.step(None, certificates.Terms(("webhook",), timedelta(days=90)), NOW, trusted=())
)
SHARE = allocations.Share(GpuUuid("GPU-1"), MiB(1024), Percent(10))
WISHER = requests.Request(gpus=2, memory=MiB(1024), cores=Percent(10), dialect=names.DIALECT_HAMI)
LIMIT = GpuLimit(GpuUuid("GPU-1"), Bytes(1 << 30), Percent(50), Percent(80))
POLICY = policy.pack(Policy((LIMIT, LIMIT), memory_enforced=True, cores_enforced=True))


def usage_file() -> bytes:
    """A usage file with a living process, as far as its last process slot in use."""
    content = bytearray(usage.SLOTS_OFFSET + 2 * usage.SLOT_SIZE)
    content[:8] = usage.MAGIC.to_bytes(4, "little") + usage.VERSION.to_bytes(4, "little")
    content[usage.SLOTS_OFFSET] = 7
    content[usage.SLOTS_OFFSET + 4] = 1
    return bytes(content)


def cache_file() -> bytes:
    """A cache of the dynamic linker with one library."""
    head = b"glibc-ld.so.cache1.1" + (1).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(20)
    entry = b"".join(number.to_bytes(4, "little") for number in (0x0303, 72, 82, 0)) + bytes(8)
    return head + entry + b"libc.so.6\0/lib/libc.so.6\0"
