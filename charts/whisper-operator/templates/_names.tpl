{{/* Names, labels and images. Every name that more than one template uses is defined here. */}}

{{- define "whisper-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Of the Deployment and all that belongs to it. Short enough for any suffix; dots, which Helm allows, are not for Services. */}}
{{- define "whisper-operator.fullname" -}}
{{- $name := include "whisper-operator.name" . -}}
{{- $full := .Release.Name -}}
{{- if not (contains $name .Release.Name) -}}
{{- $full = printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- .Values.fullnameOverride | default $full | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Of what has no namespace: two releases of one name in two namespaces do not meet. */}}
{{- define "whisper-operator.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "whisper-operator.fullname" .) -}}
{{- end }}

{{- define "whisper-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "whisper-operator.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "whisper-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "whisper-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* `managed-by: Helm` marks these as the release's; the operator's own label value on servers is another. */}}
{{- define "whisper-operator.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/part-of" "whisper-operator"
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $own = merge (include "whisper-operator.selectorLabels" . | fromYaml) $own -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end }}

{{/* repository, tag, digest; otherwise: the tag where none is given; value: where they are; registry: where this project's images are mirrored. */}}
{{- define "whisper-operator.image" -}}
{{- if eq .tag "latest" -}}
{{- fail (printf "%s.tag: latest is not one image but many: write the version that you mean, or a digest." .value) -}}
{{- end -}}
{{- $repository := .repository -}}
{{- if and .registry (hasPrefix "ghcr.io/whisper-operator/" $repository) -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .registry) (trimPrefix "ghcr.io/whisper-operator/" $repository) -}}
{{- end -}}
{{- if .digest -}}
{{- printf "%s@%s" $repository .digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.tag | default .otherwise) -}}
{{- end -}}
{{- end }}

{{- define "whisper-operator.ownImage" -}}
{{- include "whisper-operator.image" (merge (dict "otherwise" .Chart.AppVersion "value" "image" "registry" .Values.defaults.imageRegistry) .Values.image) -}}
{{- end }}

{{/* Where `helm test` puts its endpoint. */}}
{{- define "whisper-operator.testNamespace" -}}
{{- .Values.test.namespace | default (first .Values.watch.namespaces | default .Release.Namespace) -}}
{{- end }}

{{/* The endpoint itself: of another name than the test's account, which the operator would not take for its own, and of at most 40 characters. */}}
{{- define "whisper-operator.testEndpoint" -}}
{{- printf "%s-clip" (include "whisper-operator.fullname" . | trunc 35 | trimSuffix "-") -}}
{{- end }}

{{/* Whether the cluster has a kind of the Prometheus operator that was asked for: else the release would fail halfway. */}}
{{- define "whisper-operator.needMonitoringKind" -}}
{{- $version := "monitoring.coreos.com/v1" -}}
{{- if not (or (.root.Capabilities.APIVersions.Has (printf "%s/%s" $version .kind)) (.root.Capabilities.APIVersions.Has $version)) -}}
{{- fail (printf "monitoring.%s.enabled needs the kind %s, which this cluster does not have: install the Prometheus operator first, or set it to false (`helm template`: say --api-versions %s/%s)." .value .kind $version .kind) -}}
{{- end -}}
{{- end }}

{{/* Nodes that run the operator's image, which is for linux/amd64 only. A value of the same key in nodeSelector wins. */}}
{{- define "whisper-operator.nodeSelector" -}}
{{- mustMerge (deepCopy .Values.nodeSelector) (dict "kubernetes.io/os" "linux" "kubernetes.io/arch" "amd64") | toYaml }}
{{- end }}
