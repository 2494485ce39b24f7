{{/* Generated from the webhook's dialects by `make chart`. */}}

{{- define "unigpu.webhook.resources" -}}
- aliyun.com/gpu
- aliyun.com/gpu-core.percentage
- aliyun.com/gpu-mem
- nvidia.com/gpu
- nvidia.com/gpucores
- nvidia.com/gpumem
- nvidia.com/gpumem-percentage
- nvidia.com/priority
- nvidia.com/vgpu
- tencent.com/vcuda-core
- tencent.com/vcuda-memory
- unigpu.dev/cores
- unigpu.dev/memory
- unigpu.dev/vgpu
- volcano.sh/vgpu-cores
- volcano.sh/vgpu-memory
- volcano.sh/vgpu-memory-percentage
- volcano.sh/vgpu-number
- volcano.sh/vgpu-priority
{{- end }}

{{- define "unigpu.webhook.annotations" -}}
[]
{{- end }}
