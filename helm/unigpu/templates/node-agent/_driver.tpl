{{/* Arguments, mounts and volumes by which the node agent's containers reach the driver, by its kind. */}}
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
  hostPath: {path: {{ .simulated.libraries }}, type: Directory}
- name: simulator-state
  hostPath: {path: {{ .simulated.state }}, type: DirectoryOrCreate}
{{- end }}
{{- end }}
{{- end }}

{{/* The node's sockets and files belong to root; the devices of a real driver need more than that. `kill`: whether the
container ends processes of other users. */}}
{{- define "unigpu.nodeAgent.securityContext" -}}
runAsUser: 0
readOnlyRootFilesystem: true
{{- if eq .root.Values.nodeAgent.driver.kind "nvidia" }}
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
