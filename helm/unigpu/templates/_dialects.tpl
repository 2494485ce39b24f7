{{/* The values by which dialects are renamed or added, as every part gets them: one line of JSON. */}}
{{- define "unigpu.dialects.json" -}}
{{- dict "additional" .Values.dialects.additional "hamiResourceNames" .Values.dialects.hamiResourceNames | toJson -}}
{{- end }}

{{/* Resource names that the values add to those of the known vendors, sorted, as a YAML list. */}}
{{- define "unigpu.dialects.added" -}}
{{- $names := list -}}
{{- range $dialect := append .Values.dialects.additional .Values.dialects.hamiResourceNames -}}
{{- range list "count" "memory" "memoryPercent" "cores" "priority" -}}
{{- $names = append $names (get $dialect . | toString) -}}
{{- end }}{{- end -}}
{{- $known := include "unigpu.dialects.known" . | fromYamlArray -}}
{{- $added := list -}}
{{- range $names | compact | uniq | sortAlpha -}}
{{- if not (has . $known) -}}{{- $added = append $added . -}}{{- end -}}
{{- end -}}
{{- $added | toYaml -}}
{{- end }}

{{/* The same as they continue a list in a condition of the webhook's. */}}
{{- define "unigpu.dialects.addedInList" -}}
{{- range include "unigpu.dialects.added" . | fromYamlArray }}, '{{ . }}'{{ end -}}
{{- end }}

{{/* Every resource that stays in translated pods, as a YAML list. */}}
{{- define "unigpu.dialects.kept" -}}
{{- $left := ternary (list "nvidia.com/gpu") list (eq .Values.dialects.bareNvidiaGpu "leave") -}}
{{- $hami := .Values.dialects.hamiResourceNames -}}
{{- range $field, $name := dict "count" "nvidia.com/gpu" "memory" "nvidia.com/gpumem" "memoryPercent" "nvidia.com/gpumem-percentage" "cores" "nvidia.com/gpucores" "priority" "nvidia.com/priority" -}}
{{- if ne (get $hami $field) $name -}}{{- $left = append $left $name -}}{{- end -}}
{{- end -}}
{{- $added := include "unigpu.dialects.added" . | fromYamlArray -}}
{{- range concat (include "unigpu.dialects.known" . | fromYamlArray) $added -}}
{{- if not (has . $left) }}
- {{ . }}
{{- end }}{{- end -}}
{{- end }}
