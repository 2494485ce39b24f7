{{/* Arguments, mounts and volumes by which the node agent reaches the driver, by its kind. */}}
{{- define "unigpu.nodeAgent.driverArguments" -}}
{{- with .Values.nodeAgent.driver -}}
{{- if eq .kind "nvidia" -}}
- --host-root=/host
- --driver-root={{ .root }}
{{- else -}}
- --simulator-dir={{ .simulated.state }}
- --simulator-lib={{ .simulated.libraries }}
{{- end }}
{{- end }}
{{- end }}

{{- define "unigpu.nodeAgent.driverMounts" -}}
{{- with .Values.nodeAgent.driver -}}
{{- if eq .kind "nvidia" -}}
- name: host-root
  mountPath: /host
  readOnly: true
  mountPropagation: HostToContainer
{{- else -}}
- name: simulator-libraries
  mountPath: {{ .simulated.libraries }}
  readOnly: true
- name: simulator-state
  mountPath: {{ .simulated.state }}
{{- end }}
{{- end }}
{{- end }}

{{- define "unigpu.nodeAgent.driverVolumes" -}}
{{- with .Values.nodeAgent.driver -}}
{{- if eq .kind "nvidia" -}}
- name: host-root
  hostPath: {path: /, type: Directory}
{{- else -}}
- name: simulator-libraries
  hostPath: {path: {{ .simulated.libraries }}, type: DirectoryOrCreate}
- name: simulator-state
  hostPath: {path: {{ .simulated.state }}, type: DirectoryOrCreate}
{{- end }}
{{- end }}
{{- end }}

{{/* A container that makes a node without GPUs a machine of simulated ones, before the others start. */}}
{{- define "unigpu.nodeAgent.simulator" -}}
{{- $driver := .Values.nodeAgent.driver -}}
{{- if and (eq $driver.kind "simulated") (gt (int $driver.simulated.gpus) 0) -}}
initContainers:
  - name: simulator
    image: {{ include "unigpu.image" (dict "root" . "image" .Values.image) }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [python, -m, simulator, install]
    args:
      - --libraries={{ $driver.simulated.libraries }}
      - --dir={{ $driver.simulated.state }}
      - --gpus={{ $driver.simulated.gpus }}
      - --profile={{ $driver.simulated.profile }}
    volumeMounts:
      - name: simulator-libraries
        mountPath: {{ $driver.simulated.libraries }}
      - name: simulator-state
        mountPath: {{ $driver.simulated.state }}
    securityContext:
      {{- include "unigpu.nodeAgent.securityContext" (dict "privileged" false "kill" false) | nindent 6 }}
    {{- with .Values.nodeAgent.exporterResources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* The node's sockets and files belong to root, and containers may take their files' permissions away. `privileged`:
whether the container opens the devices of a real driver. `kill`: whether it ends processes of other users. */}}
{{- define "unigpu.nodeAgent.securityContext" -}}
runAsUser: 0
readOnlyRootFilesystem: true
{{- if .privileged }}
privileged: true
{{- else }}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  add: [DAC_OVERRIDE{{ if .kill }}, KILL{{ end }}]
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- end }}
