"""Writes operator/whisper_operator/resource/embedded.json: Kubernetes' own types that a WhisperEndpoint holds, as schemas.

    scripts/embedded_types.py KUBECONFIG HTTPROUTE-CRD.yaml

They come from /openapi/v3 of a running API server and from config/crd/standard of github.com/kubernetes-sigs/gateway-api
(1.5.1), and are trimmed: no $ref, no defaults, descriptions cut to what fits a line of `kubectl explain`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

PATHS = ("/openapi/v3/api/v1", "/openapi/v3/apis/networking.k8s.io/v1", "/openapi/v3/apis/autoscaling/v2")
TYPES = (
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior",
    "io.k8s.api.core.v1.Affinity",
    "io.k8s.api.core.v1.Container",
    "io.k8s.api.core.v1.EnvVar",
    "io.k8s.api.core.v1.HostAlias",
    "io.k8s.api.core.v1.PodDNSConfig",
    "io.k8s.api.core.v1.ResourceRequirements",
    "io.k8s.api.core.v1.Toleration",
    "io.k8s.api.core.v1.TopologySpreadConstraint",
    "io.k8s.api.core.v1.Volume",
    "io.k8s.api.core.v1.VolumeMount",
    "io.k8s.api.networking.v1.NetworkPolicyPeer",
)
LEFT_OUT = {
    ("io.k8s.api.core.v1.ResourceRequirements", "claims"),
    ("io.k8s.api.core.v1.EnvVarSource", "fileKeyRef"),
    ("io.k8s.api.core.v1.Probe", "terminationGracePeriodSeconds"),
    ("io.k8s.api.autoscaling.v2.HPAScalingRules", "tolerance"),
}
"""Need parts of a pod that a WhisperEndpoint does not have, or are behind a feature gate."""
ONLY = {
    "io.k8s.api.core.v1.Container": {
        *("name", "image", "imagePullPolicy", "command", "args", "env", "resources", "volumeMounts"),
        *("startupProbe", "readinessProbe", "livenessProbe"),
    },
    "io.k8s.api.core.v1.HTTPGetAction": {"path", "port", "scheme"},
    "io.k8s.api.core.v1.Volume": {"name", "configMap", "emptyDir", "persistentVolumeClaim", "secret"},
    "io.k8s.api.core.v1.VolumeMount": {"name", "mountPath", "subPath", "readOnly"},
}
"""What is taken of a type: volumes that PodSecurity `restricted` allows and that give no token of the API server; containers
without a security context, which the operator writes."""
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
KEPT = (
    "type", "format", "enum", "required", "pattern", "minLength", "maxLength", "minimum", "maximum", "maxItems",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
)  # fmt: skip
LONGEST = 260
TARGET = Path(__file__).resolve().parents[1] / "operator/whisper_operator/resource/embedded.json"


def resolved(schema: Mapping[str, Any], known: Mapping[str, Schema], name: str = "") -> Schema:
    """A schema without references. `name` is the type's, where it has one."""
    reference = schema.get("$ref") or next((one["$ref"] for one in schema.get("allOf", []) if "$ref" in one), "")
    if reference:
        target = reference.rsplit("/", 1)[-1]
        found = resolved(known[target], known, target)
        return found | ({"description": shortened(schema["description"])} if "description" in schema else {})
    if name == QUANTITY:
        either = [{"type": "integer"}, {"type": "string"}]
        text = "A quantity, such as 500m or 2Gi."
        return {"description": text, "anyOf": either, "x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN}
    if name == INT_OR_STRING:
        either = [{"type": "integer"}, {"type": "string"}]
        text = "A number or a name."
        return {"description": text, "anyOf": either, "x-kubernetes-int-or-string": True}
    made: Schema = {"description": shortened(schema["description"])} if "description" in schema else {}
    made |= {key: schema[key] for key in KEPT if key in schema}
    if "properties" in schema:
        taken = ONLY.get(name, schema["properties"].keys())
        inner = {
            key: value for key, value in schema["properties"].items() if key in taken and (name, key) not in LEFT_OUT
        }
        made["properties"] = {key: resolved(value, known) for key, value in sorted(inner.items())}
    for key in ("items", "additionalProperties"):
        if key in schema:
            made[key] = resolved(schema[key], known)
            made[key].pop("description", None)
    return made


def shortened(description: str) -> str:
    """Its first sentences, as many as fit."""
    paragraph = re.split(r"\n\s*\n|Possible enum values|Support: ", description)[0]
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split()))
    text = sentences[0]
    for sentence in sentences[1:]:
        if len(text) + 1 + len(sentence) > LONGEST or sentence.endswith(":"):
            break
        text += " " + sentence
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def embedded_types(raw: Callable[[str], Any], routes: Mapping[str, Any]) -> Schema:
    """All of them. `raw` asks the API server for a path; `routes` is the CRD of HTTPRoute."""
    known: dict[str, Schema] = {}
    for path in PATHS:
        known |= raw(path)["components"]["schemas"]
    return {name: resolved(known[name], known, name) for name in TYPES} | {
        "gateway.ParentReference": parent_reference(routes)
    }


def parent_reference(crd: Mapping[str, Any]) -> Schema:
    version = next(one for one in crd["spec"]["versions"] if one["name"] == "v1")
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return resolved(spec["properties"]["parentRefs"]["items"], {})


def main(kubeconfig: str, gateway_crd: str) -> None:
    def raw(path: str) -> Any:
        command = ["kubectl", f"--kubeconfig={kubeconfig}", "get", "--raw", path]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - kubectl of the caller's
        return json.loads(done.stdout)

    found = embedded_types(raw, yaml.safe_load(Path(gateway_crd).read_text()))
    TARGET.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
