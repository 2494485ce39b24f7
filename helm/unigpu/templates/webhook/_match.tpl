{{/*
Resources of containers, in any dialect, that make a pod ours to review. The webhook's dialects say the same; a test
compares the two.
*/}}
{{- define "unigpu.webhook.resources" -}}
- unigpu.dev/vgpu
- unigpu.dev/memory
- unigpu.dev/cores
- aliyun.com/gpu-mem
- aliyun.com/gpu-core.percentage
- aliyun.com/gpu
- tencent.com/vcuda-core
- tencent.com/vcuda-memory
- nvidia.com/gpu
- nvidia.com/vgpu
- nvidia.com/gpumem
- nvidia.com/gpumem-percentage
- nvidia.com/gpucores
- nvidia.com/priority
{{- end }}

{{/*
A CEL expression: true for pods that mention GPUs, or carry (or carried) an annotation of ours. The API server asks it
before it calls the webhook, so a webhook that is down holds up these pods only.
*/}}
{{- define "unigpu.webhook.mentionsGpus" -}}
{{- $resources := include "unigpu.webhook.resources" . | fromYamlArray | toJson -}}
(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])).exists(c,
has(c.resources) && (
(has(c.resources.limits) && c.resources.limits.exists(r, r in {{ $resources }})) ||
(has(c.resources.requests) && c.resources.requests.exists(r, r in {{ $resources }}))))
|| (has(object.metadata.annotations) && object.metadata.annotations.exists(a, a.startsWith("unigpu.dev/")))
|| (oldObject != null && has(oldObject.metadata.annotations)
&& oldObject.metadata.annotations.exists(a, a.startsWith("unigpu.dev/")))
{{- end }}

{{/* Namespaces that are never touched. */}}
{{- define "unigpu.webhook.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- concat (list "kube-system" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq | toYaml | nindent 6 }}
{{- end }}

{{/*
The CA bundle that the webhook wrote at run time, kept through an upgrade:
dict "kind" "MutatingWebhookConfiguration"
*/}}
{{- define "unigpu.webhook.caBundle" -}}
{{- $live := lookup "admissionregistration.k8s.io/v1" .kind "" "unigpu-webhook" -}}
{{- range ($live).webhooks -}}
{{- with .clientConfig.caBundle }}{{ . }}{{ end -}}
{{- end -}}
{{- end }}
