{{/* Regular expressions (RE2) of what policy.* allows and refuses. `[.]` needs no escaping in YAML and CEL. */}}

{{- define "whisper-operator.refusedAnnotations" -}}
{{- range $index, $pattern := .Values.policy.refusedAnnotations -}}
{{- if $index }}|{{ end -}}
{{- $pattern | replace "." "[.]" | replace "*" ".*" -}}
{{- end -}}
{{- end }}

{{/* An image is of a registry or repository if that, or that and `/`, begins its name without tag and digest. */}}
{{- define "whisper-operator.allowedImages" -}}
{{- range $index, $allowed := .Values.policy.allowedImageRegistries -}}
{{- if $index }}|{{ end -}}
{{- if or (eq $allowed "docker.io") (hasPrefix "docker.io/" $allowed) -}}
{{- include "whisper-operator.allowedOfDockerHub" (trimPrefix "docker.io" $allowed | trimPrefix "/") -}}
{{- else -}}
{{- $allowed | replace "." "[.]" }}(/[^@:]*)?
{{- end -}}
{{- end -}}
{{- end }}

{{/* Below a path of Docker Hub; a name without a slash is below library. */}}
{{- define "whisper-operator.allowedOfDockerHub" -}}
{{- $path := replace "." "[.]" . -}}
{{- $below := trimPrefix "library/" $path -}}
(index[.])?docker[.]io/
{{- if not $path -}}
[^@:]*
{{- else if eq $path "library" -}}
([^/@:]+|library/[^@:]*)
{{- else if and (hasPrefix "library/" $path) (not (contains "/" $below)) -}}
((library/)?{{ $below }}|library/{{ $below }}/[^@:]*)
{{- else if contains "/" $path -}}
{{ $path }}(/[^@:]*)?
{{- else -}}
{{ $path }}/[^@:]*
{{- end -}}
{{- end }}
