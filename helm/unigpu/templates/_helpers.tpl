{{/*
Labels of every object: dict "root" $ "component" "webhook" "more" .Values.webhook.podLabels
The chart's own labels win over `more`, and those over commonLabels: selectors depend on them.
*/}}
{{- define "unigpu.labels" -}}
{{- $own := include "unigpu.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $own (.more | default dict | deepCopy) (.root.Values.commonLabels | default dict)) }}
{{- end }}

{{/* Labels that pods are selected by; they can't change after an install. */}}
{{- define "unigpu.selectorLabels" -}}
app.kubernetes.io/name: unigpu
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Full name of an image: dict "root" $ "image" .Values.image */}}
{{- define "unigpu.image" -}}
{{- $registry := .image.registry | default .root.Values.global.registry | default "" | trimSuffix "/" -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/*
kube-scheduler's image. Its tag follows the cluster, of which some distributions add their own suffix to the version.
*/}}
{{- define "unigpu.kubeSchedulerImage" -}}
{{- $version := regexFind "^v[0-9]+[.][0-9]+[.][0-9]+" .Capabilities.KubeVersion.Version -}}
{{- $image := merge (dict "tag" (.Values.scheduler.image.tag | default $version)) .Values.scheduler.image -}}
{{- include "unigpu.image" (dict "root" . "image" $image) }}
{{- end }}

{{/* kube-scheduler's version: what its tag begins with, else the cluster's. */}}
{{- define "unigpu.kubeSchedulerVersion" -}}
{{- $form := "^v?[0-9]+[.][0-9]+" -}}
{{- regexFind $form (.Values.scheduler.image.tag | default "") | default (regexFind $form .Capabilities.KubeVersion.Version) }}
{{- end }}

{{/* Name of a part's service account: dict "root" $ "values" .Values.webhook "component" "webhook" */}}
{{- define "unigpu.serviceAccountName" -}}
{{ .values.serviceAccount.name | default (printf "unigpu-%s" .component) }}
{{- end }}

{{/* The account itself, and a line that ends its document; nothing if it exists already. Same arguments. */}}
{{- define "unigpu.serviceAccount" -}}
{{- if .values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "unigpu.serviceAccountName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "unigpu.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
---
{{- end }}
{{- end }}

{{/* Whether the cluster has ValidatingAdmissionPolicies, and tokens that name their node: Kubernetes 1.30. Else empty. */}}
{{- define "unigpu.hasPolicies" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}yes{{ end }}
{{- end }}

{{/*
A policy for one service account, and its binding, up to the policy's own fields: dict "root" $ "name" "…" "component" "…"
"values" .Values.nodeAgent "operation" "UPDATE" "resources" (list "nodes") "fields" "…"
*/}}
{{- define "unigpu.policy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels:
    {{- include "unigpu.labels" . | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [{{ .operation }}]
        resources: {{ .resources | toJson }}
  matchConditions:
    - name: is-unigpus
      expression: request.userInfo.username == 'system:serviceaccount:{{ .root.Release.Namespace }}:{{ include "unigpu.serviceAccountName" . }}'
  {{- .fields | nindent 2 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "unigpu.labels" . | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* Arguments that every service of unigpu takes. */}}
{{- define "unigpu.logArguments" -}}
- --log-level={{ .Values.log.level }}
{{- if .Values.log.json }}
- --log-json
{{- end }}
{{- end }}

{{/* Fields of a pod's spec that are the same everywhere: dict "root" $ "values" .Values.webhook */}}
{{- define "unigpu.podPlacement" -}}
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Replicas apart from each other where the cluster is large enough: dict "root" $ "component" "webhook" */}}
{{- define "unigpu.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "unigpu.selectorLabels" . | nindent 8 }}
{{- end }}

{{/* A pod that needs nothing of its node. */}}
{{- define "unigpu.unprivilegedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "unigpu.unprivilegedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Probes of a service that answers /healthz and /readyz: dict "port" "health" "scheme" "HTTP" "ready" "/readyz" */}}
{{- define "unigpu.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ .port }}, scheme: {{ .scheme | default "HTTP" }}}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: {{ .port }}, scheme: {{ .scheme | default "HTTP" }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: {{ .ready | default "/readyz" }}, port: {{ .port }}, scheme: {{ .scheme | default "HTTP" }}}
  periodSeconds: 2
  timeoutSeconds: 5
{{- end }}
