{{/*
A CEL expression: true for a pod that asks for GPUs in any dialect, or carries an annotation of ours. The API server asks
it before it calls the webhook, so a webhook that is down holds up these pods only.
*/}}
{{- define "unigpu.webhook.asksForGpus" -}}
{{- $resources := include "unigpu.webhook.resources" . | fromYamlArray | toJson -}}
{{- $annotations := include "unigpu.webhook.annotations" . | fromYamlArray | toJson -}}
(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])).exists(c,
has(c.resources) && (
(has(c.resources.limits) && c.resources.limits.exists(r, r in {{ $resources }})) ||
(has(c.resources.requests) && c.resources.requests.exists(r, r in {{ $resources }}))))
|| (has(object.metadata.annotations) && object.metadata.annotations.exists(a,
a.startsWith("unigpu.dev/") || a in {{ $annotations }}))
{{- end }}

{{/*
The same for validation. Of a pod that exists only annotations matter: while the webhook is down, its other fields can
still change, so that it can be ended and cleaned up.
*/}}
{{- define "unigpu.webhook.asksOrChanges" -}}
request.operation == "CREATE" ? ({{ include "unigpu.webhook.asksForGpus" . }}) :
(has(object.metadata.annotations) ? object.metadata.annotations : {}) !=
(has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {}) && (
(has(object.metadata.annotations) && object.metadata.annotations.exists(a, a.startsWith("unigpu.dev/"))) ||
(has(oldObject.metadata.annotations) && oldObject.metadata.annotations.exists(a, a.startsWith("unigpu.dev/"))))
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
