{{/* Annotations of an object that is there only while a hook runs: dict "hook" "test" "weight" "-1" */}}
{{- define "unigpu.jobs.hook" -}}
helm.sh/hook: {{ .hook }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Spec of a pod that runs files/jobs.py: dict "root" $ "account" "unigpu-test" "arguments" (list "check") */}}
{{- define "unigpu.jobs.pod" -}}
serviceAccountName: {{ .account }}
restartPolicy: Never
{{ include "unigpu.podPlacement" (dict "root" .root "values" .root.Values.webhook) }}
securityContext:
  {{- include "unigpu.unprivilegedPod" . | nindent 2 }}
containers:
  - name: {{ .account }}
    image: {{ include "unigpu.image" (dict "root" .root "image" .root.Values.image) }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [python, /etc/unigpu/jobs.py]
    args:
      {{- toYaml .arguments | nindent 6 }}
    volumeMounts:
      - name: jobs
        mountPath: /etc/unigpu
        readOnly: true
    securityContext:
      {{- include "unigpu.unprivilegedContainer" . | nindent 6 }}
    resources:
      requests:
        cpu: 10m
        memory: 32Mi
      limits:
        memory: 128Mi
volumes:
  - name: jobs
    configMap:
      name: {{ .account }}
{{- end }}

{{/* Account, script and roles of a job: dict "root" $ "account" "unigpu-test" "hook" "test" "rules" "…" "namespace" "…" "namespaceRules" "…" */}}
{{- define "unigpu.jobs.rights" -}}
{{- $annotations := include "unigpu.jobs.hook" (dict "hook" .hook "weight" "-1") -}}
{{- $labels := include "unigpu.labels" (dict "root" .root "component" (trimPrefix "unigpu-" .account)) -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .account }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .account }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
data:
  jobs.py: |
    {{- .root.Files.Get "files/jobs.py" | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .account }}
  labels:
    {{- $labels | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .account }}
  labels:
    {{- $labels | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .account }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .root.Release.Namespace }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .account }}
  namespace: {{ .namespace }}
  labels:
    {{- $labels | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
rules:
  {{- .namespaceRules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .account }}
  namespace: {{ .namespace }}
  labels:
    {{- $labels | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .account }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
