{{/* All of the container's variables. A user's variable that would override a value of this chart is refused. */}}
{{- define "whisper-operator.env" -}}
{{- $settings := include "whisper-operator.settings" . -}}
{{- $names := list -}}
{{- range $settings | fromYamlArray -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv: %s is set by this chart; use the value that the chart's README has for it." .name) -}}
{{- end -}}
{{- end -}}
{{- $settings }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The operator's settings (operator/whisper_operator/settings.py): every field, in upper case. tests/contract/test_charts.py compares. */}}
{{- define "whisper-operator.settings" -}}
- name: SERVER_IMAGE_GPU
  value: {{ include "whisper-operator.image" (merge (dict "otherwise" (printf "%s-gpu" .Chart.AppVersion) "value" "server.image.gpu" "registry" .Values.defaults.imageRegistry) .Values.server.image.gpu) | quote }}
- name: SERVER_IMAGE_CPU
  value: {{ include "whisper-operator.image" (merge (dict "otherwise" (printf "%s-cpu" .Chart.AppVersion) "value" "server.image.cpu" "registry" .Values.defaults.imageRegistry) .Values.server.image.cpu) | quote }}
- name: WATCH_NAMESPACES
  value: {{ join "," .Values.watch.namespaces | quote }}
- name: OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: LEASE_NAME
  value: {{ include "whisper-operator.fullname" . | quote }}
- name: IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: PORT
  value: "8080"
- name: INTERFACE
  value: {{ .Values.interface | quote }}
- name: WORKERS
  value: {{ .Values.reconcile.workers | quote }}
- name: DRIFT_SECONDS
  value: {{ .Values.reconcile.driftSeconds | quote }}
- name: MISSING_SECONDS
  value: {{ .Values.reconcile.missingSeconds | quote }}
- name: LEASE_SECONDS
  value: {{ .Values.leaseSeconds | quote }}
- name: READ_SECRETS
  value: {{ .Values.rbac.readSecrets | quote }}
- name: MONITORING_NAMESPACE
  value: {{ .Values.monitoring.namespace | quote }}
- name: POD_MONITORS
  value: {{ .Values.monitoring.endpoints.podMonitors | quote }}
- name: POD_MONITOR_LABELS
  value: {{ .Values.monitoring.endpoints.podMonitorLabels | toJson | quote }}
- name: PROMETHEUS_URL
  value: {{ .Values.monitoring.endpoints.prometheusUrl | quote }}
- name: INGRESS_CONTROLLER
  value: {{ .Values.ingressController | quote }}
- name: ALLOWED_IMAGE_REGISTRIES
  value: {{ join "," .Values.policy.allowedImageRegistries | quote }}
- name: REFUSED_ANNOTATIONS
  value: {{ join "," .Values.policy.refusedAnnotations | quote }}
- name: IMAGE_ROLLOUT_AT_ONCE
  value: {{ .Values.imageRollout.atOnce | quote }}
- name: CLUSTER_DOMAIN
  value: {{ .Values.clusterDomain | quote }}
- name: LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: DEFAULTS_FILE
  value: /etc/whisper-operator/defaults.json
{{- end }}
