{{/*
The affinity that the values ask for, and besides: the pods leave a node while NVIDIA's operator upgrades its driver or
changes MIG mode, because an open NVML session keeps the driver's module. The operator says so by labels.
*/}}
{{- define "unigpu.nodeAgent.affinity" -}}
{{- $rules := list -}}
{{- range list "client" "operator-validator" "device-plugin" -}}
{{- $rules = append $rules (dict "key" (print "nvidia.com/gpu.deploy." .) "operator" "NotIn" "values" (list "paused-for-driver-upgrade" "paused-for-mig-change")) -}}
{{- end -}}
{{- $affinity := deepCopy (.Values.nodeAgent.affinity | default dict) -}}
{{- $nodes := get $affinity "nodeAffinity" | default dict -}}
{{- $required := get $nodes "requiredDuringSchedulingIgnoredDuringExecution" | default dict -}}
{{- $terms := list -}}
{{- range get $required "nodeSelectorTerms" | default (list dict) -}}
{{- $own := get . "matchExpressions" | default list -}}
{{- $terms = append $terms (merge (dict "matchExpressions" (concat $own $rules)) .) -}}
{{- end -}}
{{- $required = merge (dict "nodeSelectorTerms" $terms) $required -}}
{{- $nodes = merge (dict "requiredDuringSchedulingIgnoredDuringExecution" $required) $nodes -}}
{{- merge (dict "nodeAffinity" $nodes) $affinity | toYaml -}}
{{- end }}
