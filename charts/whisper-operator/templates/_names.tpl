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
{{- include "whisper-operator.refuseKeys" (dict "value" "commonLabels" "of" .Values.commonLabels "whose" "this chart" "keys" (keys $own)) -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end }}

{{/* Of the operator's pods: the more specific value wins. */}}
{{- define "whisper-operator.podLabels" -}}
{{- $own := include "whisper-operator.selectorLabels" . | fromYaml -}}
{{- include "whisper-operator.refuseKeys" (dict "value" "podLabels" "of" .Values.podLabels "whose" "this chart" "keys" (keys $own)) -}}
{{- merge $own .Values.podLabels .Values.commonLabels | toYaml -}}
{{- end }}

{{/* Fails for a key of `of` that would be overwritten silently: one of `keys`, or one that begins with `group`. */}}
{{- define "whisper-operator.refuseKeys" -}}
{{- $given := . -}}
{{- range $key, $_ := .of -}}
{{- if or (has $key ($given.keys | default list)) (and $given.group (hasPrefix $given.group $key)) -}}
{{- fail (printf "%s: %s sets %s itself: leave it out." $given.value $given.whose $key) -}}
{{- end -}}
{{- end -}}
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

{{/* As the operator does with the servers' images: the mirror is the prefix of one that names no registry. */}}
{{- define "whisper-operator.ownImage" -}}
{{- $image := include "whisper-operator.image" (merge (dict "otherwise" .Chart.AppVersion "value" "image" "registry" .Values.defaults.imageRegistry) .Values.image) -}}
{{- if and .Values.defaults.imageRegistry (not (regexMatch "^([^/]*[.:A-Z][^/]*|localhost)/" $image)) -}}
{{- $image = printf "%s/%s" (trimSuffix "/" .Values.defaults.imageRegistry) $image -}}
{{- end -}}
{{- $image -}}
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
