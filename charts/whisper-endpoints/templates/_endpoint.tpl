{{/*
Lays `source` over `target` and changes `target`. Sprig's own merge would not let false, 0 or "" win, and Helm hands
nulls through: here they take a key away.
*/}}
{{- define "whisper-endpoints.lay" -}}
{{- $target := .target -}}
{{- range $key, $value := .source -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $target $key -}}
{{- else if kindIs "map" $value -}}
{{- $below := get $target $key -}}
{{- if not (kindIs "map" $below) -}}
{{- $below = dict -}}
{{- end -}}
{{- $_ := set $target $key $below -}}
{{- include "whisper-endpoints.lay" (dict "target" $below "source" $value) -}}
{{- else -}}
{{- $_ := set $target $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "whisper-endpoints.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- range $key, $_ := merge (dict) (.labels | default dict) .root.Values.commonLabels -}}
{{- if hasKey $own $key -}}
{{- fail (printf "labels: this chart sets %s itself: leave it out." $key) -}}
{{- end -}}
{{- end -}}
{{- merge $own (.labels | default dict) .root.Values.commonLabels | toYaml -}}
{{- end }}
