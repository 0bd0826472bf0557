{{/* Of all that `helm test` makes: gone when it has ended, whether well or not, with its output printed before. */}}
{{- define "whisper-operator.testMetadata" -}}
name: {{ .name }}
namespace: {{ include "whisper-operator.testNamespace" .root }}
labels:
  {{- $labels := include "whisper-operator.labels" .root | fromYaml }}
  {{- $_ := set $labels "app.kubernetes.io/component" "test" }}
  {{- toYaml $labels | nindent 2 }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
  helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end }}
