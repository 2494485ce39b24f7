{{/* Namespaces that are never touched, as a YAML list. */}}
{{- define "unigpu.webhook.excluded" -}}
{{- concat (list "kube-system" .Release.Namespace) (.Values.webhook.excludedNamespaces | default list) | uniq | toYaml }}
{{- end }}

{{- define "unigpu.webhook.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- include "unigpu.webhook.excluded" . | nindent 6 }}
{{- end }}

{{/* The CA bundle that the webhook wrote at run time, kept through an upgrade: kind of the configuration */}}
{{- define "unigpu.webhook.caBundle" -}}
{{- $live := lookup "admissionregistration.k8s.io/v1" . "" "unigpu-webhook" -}}
{{- with ($live).webhooks }}{{ with (first .).clientConfig.caBundle }}{{ . }}{{ end }}{{ end -}}
{{- end }}

{{/*
One webhook: dict "root" $ "kind" "Mutating…" "name" "translate" "path" "/mutate" "operation" "CREATE"
"resources" (list "pods") "condition" "asks-for-gpus" "expression" "…", and "failurePolicy" where the value doesn't count
*/}}
{{- define "unigpu.webhook.entry" -}}
name: {{ .name }}.unigpu.dev
admissionReviewVersions: [v1]
sideEffects: NoneOnDryRun
matchPolicy: Equivalent
failurePolicy: {{ .failurePolicy | default .root.Values.webhook.failurePolicy }}
timeoutSeconds: {{ .root.Values.webhook.timeoutSeconds }}
clientConfig:
  service:
    name: unigpu-webhook
    namespace: {{ .root.Release.Namespace }}
    port: 443
    path: {{ .path }}
  {{- with include "unigpu.webhook.caBundle" .kind }}
  caBundle: {{ . }}
  {{- end }}
rules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [{{ .operation }}]
    resources: {{ .resources | toJson }}
    scope: Namespaced
namespaceSelector:
  {{- include "unigpu.webhook.namespaceSelector" .root | nindent 2 }}
# Asked by the API server before it calls the webhook, so that a webhook that is down holds up nothing else.
matchConditions:
  - name: {{ .condition }}
    expression: {{ .expression | quote }}
{{- end }}
