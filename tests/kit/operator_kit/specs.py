"""Specs that the API server must refuse, and edge cases that it must accept. Data only."""

from __future__ import annotations

import dataclasses
from typing import Any

from whisper_operator.resource.embedded import requirement_paths

Document = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Refused:
    """A spec that breaks one rule, and the only error that it gets: from its beginning, as far as it is written."""

    spec: Document
    error: str
    name: str = ""
    """Of the endpoint. Empty: any valid one."""


CPU: Document = {"gpu": {"class": "none"}}
T4: Document = {"gpu": {"class": "t4"}}
AMPERE: Document = {"gpu": {"class": "ampere"}}


def _cache(**claim: Any) -> Document:
    return {"cache": {"persistentVolumeClaim": {"size": "20Gi", **claim}}}


def _model(address: str, **model: Any) -> Document:
    return {"model": {"id": address, **model}}


def _scaled(**autoscaling: Any) -> Document:
    return {"autoscaling": {"maxReplicas": 3, "metric": "queue", "target": 60, **autoscaling}}


def _ingress(**ingress: Any) -> Document:
    return {"exposure": {"ingress": ingress}}


def _gateway(**gateway: Any) -> Document:
    return {"exposure": {"gateway": {"parentRefs": [{"name": "web"}], **gateway}}}


def _sources(*peers: Document, **policy: Any) -> Document:
    return {"access": {"networkPolicy": {"from": list(peers), **policy}}}


def _pod(**pod: Any) -> Document:
    return {"pod": pod}


def _container(field: str, **container: Any) -> Document:
    return _pod(**{field: [{"name": "mine", "image": "a:1", **container}]})


def _nowhere(**spec: Any) -> Document:
    return {**_model("owner/name"), "access": {"networkPolicy": {"egress": "none"}}, **spec}


REQUIREMENTS = (
    *(f"spec.pod.affinity.{path}" for path in requirement_paths("io.k8s.api.core.v1.Affinity")),
    "spec.pod.topologySpreadConstraints[].labelSelector.matchExpressions[]",
    *(
        f"spec.access.networkPolicy.{peers}[].{selector}.matchExpressions[]"
        for peers in ("from", "to")
        for selector in ("namespaceSelector", "podSelector")
    ),
)
"""Where labels are compared with values."""
_BESIDE: Document = {
    "networkPolicy": {"egress": "hub"},
    "podAffinityTerm": {"topologyKey": "zone"},
    "requiredDuringSchedulingIgnoredDuringExecution[]": {"topologyKey": "zone"},
    "preferredDuringSchedulingIgnoredDuringExecution[]": {"weight": 1},
    "topologySpreadConstraints[]": {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
}
"""End of a path → what must be written there."""


def _within(path: str, innermost: Document) -> Document:
    """A spec with a value at a path, and with what is required on the way there."""
    value: Any = innermost
    names = path.removeprefix("spec.").split(".")
    for depth in reversed(range(len(names))):
        here = ".".join(names[: depth + 1])
        required: Document = next((more for end, more in _BESIDE.items() if here.endswith(end)), {})
        value = {**required, **value}
        value = {names[depth].removesuffix("[]"): [value] if here.endswith("[]") else value}
    found: Document = value
    return found


ONE_POD = _cache(accessModes=["ReadWriteOncePod"])

REFUSED: tuple[Refused, ...] = (
    Refused({}, "metadata.name: Invalid value: it is the name of a Service, too", name="a" * 41),
    Refused({}, "metadata.name: Invalid value: it is the name of a Service, too", name="1st"),
    Refused({}, "metadata.name: Invalid value: it is the name of a Service, too", name="a.b"),
    # gpu and engine
    Refused({**CPU, "engine": {"type": "vllm"}}, "spec.engine.type: Invalid value: vllm needs a GPU"),
    Refused(
        {**CPU, "engine": {"type": "torch"}}, "spec.engine.type: Invalid value: vllm needs a GPU, and so does torch"
    ),
    Refused({"engine": {"type": "ctranslate2"}}, "spec.engine.type: Invalid value: ctranslate2 runs on CPUs here"),
    Refused(
        {**T4, "engine": {"type": "ctranslate2"}}, "spec.engine.type: Invalid value: ctranslate2 runs on CPUs here"
    ),
    Refused({"pod": {"image": "UPPER/case:1"}}, "spec.pod.image: Invalid value: a repository has no capital letters"),
    Refused(
        {"pod": {"image": "ghcr.io/Team/server:1"}},
        "spec.pod.image: Invalid value: a repository has no capital letters",
    ),
    Refused(
        {"cache": {"image": {"reference": "Models:1"}}, "model": {"id": "/models/x"}},
        "spec.cache.image.reference: Invalid value: a repository has no capital letters",
    ),
    Refused({"gpu": {"class": "none", "minMemoryGiB": 8}}, "spec.gpu: Invalid value: class none takes no GPU"),
    Refused(
        {"gpu": {"class": "none", "resourceName": "amd.com/gpu"}}, "spec.gpu: Invalid value: class none takes no GPU"
    ),
    Refused({**CPU, "engine": {"kvCacheDtype": "fp16"}}, "spec.engine: Invalid value: gpu.class none takes no GPU"),
    Refused({**CPU, "engine": {"attentionBackend": "TRITON_ATTN"}}, "spec.engine: Invalid value: gpu.class none takes"),
    Refused({**CPU, "engine": {"maxBatchedTokens": 3000}}, "spec.engine: Invalid value: gpu.class none takes no GPU"),
    Refused(
        {**CPU, "engine": {"gpuMemoryUtilization": 0.5}}, "spec.engine: Invalid value: gpu.class none takes no GPU"
    ),
    Refused({"gpu": {"shared": True}}, "spec.engine.gpuMemoryUtilization: Invalid value: a shared GPU is not all"),
    Refused(
        {"gpu": {"class": "t4", "minMemoryGiB": 17}}, "spec.gpu.minMemoryGiB: Invalid value: a t4 is sold with 16 GiB"
    ),
    Refused(
        {"gpu": {"class": "t4", "resourceName": "nvidia.com/mig-1g.5gb"}},
        "spec.gpu.resourceName: Invalid value: t4 and ada GPUs cannot be sliced",
    ),
    Refused({**T4, "engine": {"dtype": "bfloat16"}}, "spec.engine.dtype: Invalid value: a t4 has no bfloat16"),
    Refused({**AMPERE, "engine": {"dtype": "int8"}}, "spec.engine.dtype: Invalid value: int8 is for CPUs"),
    Refused({"engine": {"dtype": "int8"}}, "spec.engine.dtype: Invalid value: int8 is for CPUs"),
    Refused({**CPU, "engine": {"dtype": "half"}}, "spec.engine.dtype: Invalid value: CPUs compute in int8 or float32"),
    Refused({**T4, "engine": {"kvCacheDtype": "fp8"}}, "spec.engine.kvCacheDtype: Invalid value: fp8 needs compute"),
    Refused(
        {**AMPERE, "engine": {"kvCacheDtype": "fp8"}}, "spec.engine.kvCacheDtype: Invalid value: fp8 needs compute"
    ),
    Refused(
        {"engine": {"kvCacheDtype": "fp32"}}, "spec.engine.kvCacheDtype: Invalid value: fp32 goes with dtype float32"
    ),
    Refused(
        {**T4, "engine": {"attentionBackend": "FLASH_ATTN"}},
        "spec.engine.attentionBackend: Invalid value: FLASH_ATTN needs compute capability 8.0",
    ),
    # replicas and rollout
    Refused(_scaled(minReplicas=4), "spec.autoscaling.minReplicas: Invalid value: write no more than maxReplicas"),
    Refused(_scaled(metric="cpu", target=1001), "spec.autoscaling.target: Invalid value: for metric cpu write percent"),
    Refused(
        {**_scaled(metric="cpu", target=80), **_pod(resources={"requests": {"memory": "2Gi"}})},
        "spec.pod.resources: Invalid value: autoscaling.metric cpu is measured against",
    ),
    Refused({**ONE_POD, "replicas": 2}, "spec.replicas: Invalid value: a ReadWriteOncePod volume is for one pod"),
    Refused({**ONE_POD, **_scaled()}, "spec.replicas: Invalid value: a ReadWriteOncePod volume is for one pod"),
    Refused({**ONE_POD, "rollout": {"maxSurge": "25%"}}, "spec.rollout: Invalid value: a ReadWriteOncePod volume"),
    Refused({**ONE_POD, "rollout": {"maxUnavailable": 0}}, "spec.rollout: Invalid value: a ReadWriteOncePod volume"),
    Refused(
        {"rollout": {"maxSurge": 0, "maxUnavailable": "00%"}},
        "spec.rollout: Invalid value: no pod could ever be replaced",
    ),
    Refused(
        {**CPU, "rollout": {"maxSurge": "0%", "maxUnavailable": 0}},
        "spec.rollout: Invalid value: no pod could ever be replaced",
    ),
    # model
    Refused(
        _model("hf://owner/name"),
        'spec.model.id: Invalid value: "hf://owner/name": write owner/name (a Hugging Face id, without hf://)',
    ),
    Refused(
        _model("gs://bucket/model"),
        'spec.model.id: Invalid value: "gs://bucket/model": write owner/name (a Hugging Face id, without hf',
    ),
    Refused(
        _model("oci://registry.example"),
        'spec.model.id: Invalid value: "oci://registry.example": write oci://registry/repository:tag or',
    ),
    Refused(_model("s3://B"), 'spec.model.id: Invalid value: "s3://B": write s3://bucket/prefix'),
    Refused(
        _model("https://user:secret@example.com/a.tar"),
        'spec.model.id: Invalid value: "https://user:secret@example.com/a.tar": write https://host/path of',
    ),
    Refused(
        _model("https://example.com/a.tar?token=secret"),
        'spec.model.id: Invalid value: "https://example.com/a.tar?token=secret": write https://host/path of',
    ),
    Refused(
        _model("https://example.com"),
        'spec.model.id: Invalid value: "https://example.com": write https://host/path of an archive',
    ),
    Refused(
        _model("s3://models/a", sha256="0" * 64), "spec.model.sha256: Invalid value: it is that of an https:// arch"
    ),
    Refused(_model("http://example.com/a.tar"), "spec.model.sha256: Invalid value: plain http lets anyone on the way"),
    Refused(_model("s3://models/a", revision="v2"), "spec.model.revision: Invalid value: it is that of a Hugging Face"),
    Refused(
        _model("s3://models/a", tokenSecretRef={"name": "hub"}),
        "spec.model.tokenSecretRef: Invalid value: it is for the Hugging Face hub",
    ),
    Refused(
        _model("owner/name", pullSecretRef={"name": "pull"}),
        "spec.model.pullSecretRef: Invalid value: it is for oci:// models",
    ),
    Refused(
        _model("owner/name", s3={"region": "eu-central-1"}), "spec.model.s3: Invalid value: it is for s3:// models"
    ),
    # cache
    Refused({"cache": {}}, "spec.cache: Invalid value: write exactly one of emptyDir, persistentVolumeClaim"),
    Refused({"cache": {"emptyDir": {}, "existingClaim": "models"}}, "spec.cache: Invalid value: write exactly one of"),
    Refused(_cache(size=20), "spec.cache.persistentVolumeClaim.size: Invalid value: write 1Mi or more"),
    Refused(_cache(size="1048575"), "spec.cache.persistentVolumeClaim.size: Invalid value: write 1Mi or more"),
    Refused(
        {"cache": {"emptyDir": {"sizeLimit": "10k"}}}, "spec.cache.emptyDir.sizeLimit: Invalid value: write 1Mi or"
    ),
    Refused(
        _cache(accessModes=["ReadWriteOncePod", "ReadWriteMany"]),
        "spec.cache.persistentVolumeClaim.accessModes: Invalid value: ReadWriteOncePod goes with no other mode",
    ),
    Refused(
        {**_model("owner/name"), "cache": {"emptyDir": {}, "preload": True}},
        "spec.cache.preload: Invalid value: there is no volume to",
    ),
    Refused(
        {
            **_model("owner/name"),
            "cache": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteOncePod"]}, "preload": True},
        },
        "spec.cache.preload: Invalid value: a ReadWriteOncePod volume is for one pod",
    ),
    Refused(
        {"cache": {"existingClaim": "models", "preload": True}, "model": {"id": "demo"}},
        "spec.cache.preload: Invalid value: demo and folders are not downloaded",
    ),
    Refused(
        _nowhere(cache={"existingClaim": "models", "preload": True}),
        "spec.access.networkPolicy.egress: Invalid value: cache.preload downloads the model, and none lets",
    ),
    *(
        Refused(
            _nowhere(**cache),
            "spec.access.networkPolicy.egress: Invalid value: each pod downloads the model, and none lets nothing",
        )
        for cache in (Document(), Document(cache={"emptyDir": {}}))
    ),
    Refused(
        {"cache": {"image": {"reference": "registry.example.com/whisper:1"}}},
        "spec.model.id: Invalid value: with cache.image the model is a folder of that image",
    ),
    # routes and access
    Refused({"exposure": {}}, "spec.exposure: Invalid value: write exactly one of ingress and gateway"),
    Refused(
        {"exposure": {**_ingress()["exposure"], **_gateway()["exposure"]}},
        "spec.exposure: Invalid value: write exactly one of ingress and gateway",
    ),
    Refused(
        _ingress(tls={"secretName": "web"}), "spec.exposure.ingress.host: Invalid value: a certificate is for a host"
    ),
    Refused(_ingress(host="10.0.0.1"), 'spec.exposure.ingress.host: Invalid value: "10.0.0.1": write a host name'),
    Refused(
        _ingress(path="/a/../b"),
        'spec.exposure.ingress.path: Invalid value: "/a/../b": write a path without the segments . and ..',
    ),
    Refused(
        _gateway(path="/a/."),
        'spec.exposure.gateway.path: Invalid value: "/a/.": write a path without the segments . and ..',
    ),
    Refused(
        _gateway(hostnames=["10.0.0.1"]),
        'spec.exposure.gateway.hostnames[0]: Invalid value: "10.0.0.1": write a host name',
    ),
    Refused(
        _gateway(parentRefs=[{"name": "web", "port": 80}, {"name": "other"}, {"name": "web", "port": 80}]),
        "spec.exposure.gateway.parentRefs: Invalid value: write each parent once",
    ),
    Refused(
        _sources({"podSelector": {}}, enabled=False),
        "spec.access.networkPolicy.from: Invalid value: without a NetworkPolicy nothing is narrowed",
    ),
    Refused(
        _sources(enabled=False, egress="hub"),
        "spec.access.networkPolicy.from: Invalid value: without a NetworkPolicy nothing is narrowed",
    ),
    Refused(
        {"access": {"quotas": {"maxBytes": 1_048_576}}},
        "spec.access.quotas.maxBytes: Invalid value: it must hold one upload",
    ),
    Refused(_sources({}), "spec.access.networkPolicy.from[0]: Invalid value: write either ipBlock, or podSelector"),
    Refused(
        _sources({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
        "spec.access.networkPolicy.from[0]: Invalid value: write either ipBlock, or podSelector",
    ),
    # pods
    Refused(
        _pod(env=[{"name": "A", "value": "1"}, {"name": "DTYPE", "value": "half"}]),
        'spec.pod.env[1].name: Invalid value: "DTYPE": the operator sets it: write engine.dtype instead',
    ),
    Refused(
        _pod(env=[{"name": "HOME", "value": "/"}]),
        'spec.pod.env[0].name: Invalid value: "HOME": the operator sets it: leave it out',
    ),
    Refused(
        _pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        "spec.pod.env[0]: Invalid value: write either value or valueFrom",
    ),
    Refused(
        _pod(env=[{"name": "A", "valueFrom": {}}]),
        "spec.pod.env[0].valueFrom: Invalid value: write exactly one of configMapKeyRef, fieldRef",
    ),
    Refused(
        _pod(labels={"app.kubernetes.io/name": "mine"}),
        "spec.pod.labels: Invalid value: leave out app.kubernetes.io/name",
    ),
    Refused(
        _pod(labels={"whisper-operator.io/endpoint": "x"}),
        "spec.pod.labels: Invalid value: leave out app.kubernetes.io/",
    ),
    Refused(
        _pod(annotations={"whisper-operator.io/settings-hash": "x"}),
        "spec.pod.annotations: Invalid value: leave out all of whisper-operator.io/",
    ),
    Refused(
        {"commonLabels": {"app.kubernetes.io/name": "mine"}},
        "spec.commonLabels: Invalid value: leave out app.kubernetes.io/name",
    ),
    Refused(
        {"commonAnnotations": {"whisper-operator.io/settings-hash": "x"}},
        "spec.commonAnnotations: Invalid value: leave out all of whisper-operator.io/",
    ),
    Refused({"commonLabels": {"a/b/c": "x"}}, "spec.commonLabels: Invalid value: write keys such as team"),
    Refused({"commonAnnotations": {"-a": "x"}}, "spec.commonAnnotations: Invalid value: write keys such as team"),
    Refused(
        {"service": {"loadBalancerClass": "example.com/nlb"}},
        "spec.service.loadBalancerClass: Invalid value: it is for load balancers",
    ),
    Refused(
        {"service": {"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]}},
        "spec.service.loadBalancerSourceRanges: Invalid value: it is for load balancers",
    ),
    Refused(_pod(volumes=[{"name": "data"}]), "spec.pod.volumes[0]: Invalid value: write exactly one of configMap"),
    Refused(
        _pod(volumes=[{"name": "data", "emptyDir": {}, "secret": {"secretName": "a"}}]),
        "spec.pod.volumes[0]: Invalid value: write exactly one of configMap",
    ),
    Refused(
        _pod(volumes=[{"name": "scratch", "emptyDir": {}}]),
        'spec.pod.volumes[0].name: Invalid value: "scratch": the operator has volumes named',
    ),
    Refused(
        _pod(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        "spec.pod.volumeMounts: Invalid value: write names of volumes in pod.volumes",
    ),
    *(
        Refused(
            _pod(volumes=[{"name": "data", "emptyDir": {}}], volumeMounts=[{"name": "data", "mountPath": path}]),
            f'spec.pod.volumeMounts[0].mountPath: Invalid value: "{path}": the operator or the system has',
        )
        for path in ("/scratch", "/etc/whisper/api-keys")
    ),
    Refused(
        {
            "model": {"id": "/models/a"},
            "cache": {"image": {"reference": "models:1"}},
            **_pod(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": "/models"}]),
        },
        "spec.pod.volumeMounts: Invalid value: cache.image is mounted at /models",
    ),
    *(
        refused
        for field in ("initContainers", "sidecars")
        for refused in (
            Refused(
                _pod(**{field: [{"name": "mine"}]}),
                f"spec.pod.{field}[0].image: Invalid value: write the container's image",
            ),
            Refused(
                _pod(**{field: [{"name": "server", "image": "a:1"}]}),
                f'spec.pod.{field}[0].name: Invalid value: "server": the container of the server has the name',
            ),
            Refused(
                _pod(**{field: [{"name": "mine", "image": "Mine:1"}]}),
                f"spec.pod.{field}[0].image: Invalid value: a repository has no capital letters",
            ),
            Refused(
                _pod(
                    **{
                        field: [
                            {"name": "a", "image": "a:1", "volumeMounts": [{"name": "api-keys", "mountPath": "/keys"}]}
                        ]
                    }
                ),
                f"spec.pod.{field}: Invalid value: a volumeMount has the name of no volume",
            ),
            Refused(
                _container(field, volumeMounts=[{"name": "cache", "mountPath": "/cache"}]),
                f"spec.pod.{field}: Invalid value: only a claim makes the volume cache",
            ),
            Refused(
                _container(
                    field,
                    env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                ),
                f"spec.pod.{field}[0].env[0]: Invalid value: write either value or valueFrom",
            ),
            Refused(
                _container(field, env=[{"name": "A", "valueFrom": {}}]),
                f"spec.pod.{field}[0].env[0].valueFrom: Invalid value: write exactly one of configMapKeyRef, fieldRef",
            ),
            *(
                Refused(
                    _container(field, resources=resources),
                    f"spec.pod.{field}[0].resources.{kind}: Invalid value: {words}",
                )
                for resources, kind, words in (
                    ({"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}, "requests", "write no more than limits has"),
                    ({"requests": {"a.b/c": 1}}, "requests", "write as many of an extended resource"),
                    ({"limits": {"a.b/c": "500m"}}, "limits", "write a whole number"),
                    ({"limits": {"gpu": 1}}, "limits", "write cpu, memory"),
                    ({"requests": {"CPU": 1}}, "requests", "write cpu, memory"),
                )
            ),
            *(
                Refused(
                    _container(field, image=image),
                    f"spec.pod.{field}[0].image: Invalid value: write registry/repository:tag without https://",
                )
                for image in ("https://reg.example/x:1", "a//b")
            ),
        )
    ),
    *(
        Refused(
            _container("sidecars", **{probe: handlers}),
            f"spec.pod.sidecars[0].{probe}: Invalid value: write exactly one of exec, grpc, httpGet and tcpSocket",
        )
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        for handlers in ({"periodSeconds": 5}, {"tcpSocket": {"port": 80}, "exec": {"command": ["true"]}})
    ),
    *(
        Refused(_pod(image=image), "spec.pod.image: Invalid value: write registry/repository:tag without https://")
        for image in ("https://reg.example/x:1", "a//b", "x/", "a/b:", "a/b:1:2", "a:1:2", "a@b")
    ),
    Refused(
        {**_model("/models/a"), "cache": {"image": {"reference": "a//b"}}},
        "spec.cache.image.reference: Invalid value: write registry/repository:tag without https://",
    ),
    Refused(
        _pod(initContainers=[{"name": "a", "image": "a:1", "livenessProbe": {"httpGet": {"path": "/", "port": 80}}}]),
        "spec.pod.initContainers[0]: Invalid value: it ends before the server starts, so nothing probes it",
    ),
    Refused(
        _pod(initContainers=[{"name": "a", "image": "a:1"}], sidecars=[{"name": "a", "image": "a:1"}]),
        "spec.pod.sidecars: Invalid value: pod.initContainers has a container of the same name",
    ),
    Refused(_pod(securityContext={"runAsUser": 0}), "spec.pod.securityContext.runAsUser: Invalid value: 0"),
    Refused(
        {"access": {"networkPolicy": {"to": [{"podSelector": {}}]}}},
        "spec.access.networkPolicy.to: Invalid value: egress any lets everything through",
    ),
    Refused(
        {"access": {"networkPolicy": {"egress": "hub", "to": [{}]}}},
        "spec.access.networkPolicy.to[0]: Invalid value: write either ipBlock",
    ),
    *(
        Refused(
            {"gpu": {"class": "t4", "deviceClassName": "gpu.nvidia.com", **more}, **engine},
            "spec.gpu.deviceClassName: Invalid value: a pod claims a device either by its class or by a resource",
        )
        for more, engine in (
            ({"resourceName": "example.com/gpu"}, {}),
            ({"shared": True}, {"engine": {"gpuMemoryUtilization": 0.4}}),
        )
    ),
    Refused(
        {"gpu": {"class": "none", "deviceClassName": "gpu.nvidia.com"}},
        "spec.gpu: Invalid value: class none takes no GPU: leave out minMemoryGiB, shared, resourceName and deviceClassName",
    ),
    Refused(_pod(labels={"a/b/c": "x"}), "spec.pod.labels: Invalid value: write keys such as team"),
    Refused(_pod(annotations={"-a": "x"}), "spec.pod.annotations: Invalid value: write keys such as team"),
    Refused(_pod(nodeSelector={"a b": "x"}), "spec.pod.nodeSelector: Invalid value: write keys such as team"),
    Refused({"service": {"annotations": {"a:b": "x"}}}, "spec.service.annotations: Invalid value: write keys such as"),
    Refused(_ingress(annotations={"/": "x"}), "spec.exposure.ingress.annotations: Invalid value: write keys such as"),
    Refused(_pod(tolerations=[{}]), "spec.pod.tolerations[0]: Invalid value: write the key of a taint"),
    Refused(
        _pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "spec.pod.tolerations[0].value: Invalid value: operator Exists takes any value",
    ),
    Refused(
        _pod(tolerations=[{"key": "a", "tolerationSeconds": 5}]),
        "spec.pod.tolerations[0].tolerationSeconds: Invalid value: it goes with effect NoExecute only",
    ),
    Refused(
        _pod(
            topologySpreadConstraints=[
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}
            ]
        ),
        "spec.pod.topologySpreadConstraints[0].minDomains: Invalid value: it goes with whenUnsatisfiable DoNotSchedule",
    ),
    Refused(
        _pod(resources={"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}),
        "spec.pod.resources.requests: Invalid value: write no more than limits has",
    ),
    *(
        Refused(
            _within(path, {"key": "metadata.name", "operator": "In"}),
            f"{path.replace('[]', '[0]')}.values: Invalid value: write at least",
        )
        for path in REQUIREMENTS
    ),
    *(
        Refused(
            _within(f"spec.pod.affinity.{term}", {"matchLabelKeys": ["a"]}),
            f"spec.pod.affinity.{term.replace('[]', '[0]')}.labelSelector: Invalid value: matchLabelKeys and mismatch",
        )
        for kind in ("podAffinity", "podAntiAffinity")
        for term in (
            f"{kind}.requiredDuringSchedulingIgnoredDuringExecution[]",
            f"{kind}.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm",
        )
    ),
    *(
        Refused(_within(REQUIREMENTS[0], wrong), "spec.pod.affinity.nodeAffinity.preferred")
        for wrong in (
            {"key": "a", "operator": "Exists", "values": ["b"]},
            {"key": "a", "operator": "Gt", "values": ["1", "2"]},
            {"key": "a", "operator": "Lt", "values": ["b"]},
            {"key": "a", "operator": "NotIn", "values": []},
        )
    ),
    Refused(
        _pod(resources={"limits": {"a.b/c": "500m"}}), "spec.pod.resources.limits: Invalid value: write a whole number"
    ),
    Refused(_pod(resources={"requests": {"a.b/c": 1}}), "spec.pod.resources.requests: Invalid value: write as many"),
    Refused(
        _pod(resources={"requests": {"a.b/c": 1}, "limits": {"a.b/c": 2}}),
        "spec.pod.resources.requests: Invalid value: write as many",
    ),
    Refused(_pod(resources={"limits": {"gpu": 1}}), "spec.pod.resources.limits: Invalid value: write cpu, memory"),
    Refused(_pod(resources={"requests": {"CPU": 1}}), "spec.pod.resources.requests: Invalid value: write cpu, memory"),
    Refused(_pod(resources={"limits": {"nvidia.com/gpu": 1}}), "spec.pod.resources: Invalid value: leave out the GPU"),
    Refused(
        {
            "gpu": {"resourceName": "nvidia.com/mig-1g.5gb"},
            **_pod(resources={"limits": {"nvidia.com/mig-1g.5gb": 1}}),
        },
        "spec.pod.resources: Invalid value: leave out the GPU",
    ),
)
"""Each rule is broken at least once; those about changes are in UPDATES."""


@dataclasses.dataclass(frozen=True)
class Update:
    """A change of the claim of a cache, and the error that it gets. Empty: it is taken."""

    before: Document
    after: Document
    error: str = ""


_CLAIM = "spec.cache.persistentVolumeClaim"

UPDATES: tuple[Update, ...] = (
    Update(
        {"service": {"type": "LoadBalancer"}},
        {"service": {"type": "LoadBalancer", "loadBalancerClass": "example.com/nlb"}},
        "spec.service.loadBalancerClass: Invalid value: it cannot be changed",
    ),
    Update({"service": {}}, {"service": {"type": "LoadBalancer", "loadBalancerClass": "example.com/nlb"}}),
    Update(_cache(), _cache(size="19Gi"), f"{_CLAIM}.size: Invalid value: a volume can only grow"),
    Update(_cache(size="1500Mi"), _cache(size="1.4Gi"), f"{_CLAIM}.size: Invalid value: a volume can only grow"),
    Update(_cache(), _cache(size="20480Mi")),
    Update(_cache(), _cache(size=40_000_000_000)),
    Update(
        _cache(), _cache(storageClassName="fast"), f"{_CLAIM}.storageClassName: Invalid value: it cannot be changed"
    ),
    Update(
        _cache(storageClassName="slow"),
        _cache(storageClassName="fast"),
        f"{_CLAIM}.storageClassName: Invalid value: it cannot be changed",
    ),
    Update(
        _cache(storageClassName="fast"), _cache(), f"{_CLAIM}.storageClassName: Invalid value: it cannot be changed"
    ),
    Update(
        _cache(), _cache(accessModes=["ReadWriteMany"]), f"{_CLAIM}.accessModes: Invalid value: they cannot be changed"
    ),
    Update(
        _cache(accessModes=["ReadWriteOnce", "ReadWriteMany"]), _cache(accessModes=["ReadWriteMany", "ReadWriteOnce"])
    ),
    Update(_cache(storageClassName="fast"), {"cache": {"emptyDir": {}}}),
    Update({"cache": {"emptyDir": {}}}, _cache(storageClassName="fast")),
    Update(_cache(), {}),
    Update({}, _cache()),
)

ACCEPTED: dict[str, Document] = {
    "least": {},
    "suspended": {"suspend": True, "replicas": 0},
    "model-of-a-registry": {
        "model": {
            "id": "oci://registry.example:5000/team/whisper:v1@sha256:" + "0" * 64,
            "pullSecretRef": {"name": "pull"},
        },
        "cache": {"existingClaim": "models", "preload": True},
    },
    "model-of-a-bucket": {
        "model": {
            "id": "s3://my.models/team/whisper-large",
            "s3": {
                "endpointUrl": "http://minio.storage.svc:9000",
                "region": "eu-central-1",
                "credentialsSecretRef": {"name": "key"},
            },
        },
        "cache": {"persistentVolumeClaim": {"size": "20Gi"}, "preload": True},
    },
    "model-of-an-address": {"model": {"id": "http://files.example.com/whisper.tar.gz", "sha256": "ab" * 32}},
    "everything-on-a-t4": {
        "model": {
            "id": "openai/whisper-large-v3-turbo",
            "revision": "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
            "servedNames": ["whisper", "whisper-1", "org/name:1"],
            "tokenSecretRef": {"name": "hub"},
        },
        "gpu": {"class": "t4", "minMemoryGiB": 15, "shared": True},
        "engine": {
            "type": "vllm",
            "dtype": "half",
            "kvCacheDtype": "fp16",
            "attentionBackend": "TRITON_ATTN",
            "maxBatchedTokens": 1500,
            "gpuMemoryUtilization": 0.45,
        },
        "transcription": {
            "languageForce": "fa",
            "timestamps": "none",
            "maxAudioSeconds": 600,
            "segmentDurationSeconds": 12.5,
        },
        "access": {
            "apiKeysSecretRef": {"name": "keys.v2"},
            "maxUploadBytes": 2_147_483_648,
            "maxQueueSeconds": 1,
            "quotas": {"maxRequests": 1, "maxAudioSecondsPerMinute": 1, "maxBytes": 2_147_483_648},
            "realtime": {"maxSessions": 1, "idleSeconds": 86_400},
            "trustedProxies": ["10.0.0.0/8", "fd00::/8", "::1"],
            "networkPolicy": {
                "from": [
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                    {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {}},
                    {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
                ],
                "egress": "none",
            },
        },
        "service": {
            "type": "LoadBalancer",
            "annotations": {"example.com/internal": "true"},
            "loadBalancerClass": "service.k8s.aws/nlb",
            "loadBalancerSourceRanges": ["203.0.113.0/24", "2001:db8::/32"],
        },
        "disruptionBudget": {"maxUnavailable": "50%"},
        "commonLabels": {"cost-center": "a-1"},
        "commonAnnotations": {"example.com/owner": "speech"},
        "replicas": 2,
        "rollout": {
            "maxSurge": 1,
            "maxUnavailable": "100%",
            "startupSeconds": 60,
            "drainSeconds": 0,
            "shutdownSeconds": 0,
        },
        "pod": {
            "image": "registry.example.com:5000/speech/server@sha256:" + "a" * 64,
            "imagePullPolicy": "Always",
            "imagePullSecrets": [{"name": "registry"}],
            "resources": {
                "requests": {"cpu": 2, "memory": "8Gi"},
                "limits": {"cpu": "2000m", "memory": "8192Mi", "example.com/nic": 1},
            },
            "nodeSelector": {"topology.kubernetes.io/zone": "a"},
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
                    }
                },
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}},
                        }
                    ]
                },
            },
            "tolerations": [
                {"operator": "Exists"},
                {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
                {"key": "a", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2},
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
            ],
            "priorityClassName": "system-cluster-critical",
            "schedulerName": "default-scheduler",
            "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["hub.example.com"]}],
            "dnsConfig": {"searches": ["example.com"], "options": [{"name": "ndots", "value": "2"}]},
            "volumes": [
                {"name": "words", "configMap": {"name": "words", "optional": True}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
            ],
            "volumeMounts": [
                {"name": "words", "mountPath": "/etc/words", "readOnly": True},
                {"name": "data", "mountPath": "/models/mine", "subPath": "mine"},
            ],
            "initContainers": [
                {
                    "name": "fetch",
                    "image": "fetch:1",
                    "command": ["fetch", "--to=/cache/mine"],
                    "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "store", "key": "token"}}}],
                    "volumeMounts": [{"name": "scratch", "mountPath": "/work"}, {"name": "data", "mountPath": "/data"}],
                    "resources": {"limits": {"memory": "1Gi"}},
                }
            ],
            "sidecars": [
                {
                    "name": "proxy",
                    "image": "registry.example.com/team/proxy:1",
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 9000}, "periodSeconds": 5},
                    "livenessProbe": {"grpc": {"port": 9000}},
                    "env": [{"name": "EMPTY", "value": ""}],
                    "resources": {"requests": {"cpu": 1, "a.b/c": 2}, "limits": {"cpu": "1500m", "a.b/c": 2}},
                }
            ],
            "securityContext": {"runAsUser": 1000, "runAsGroup": 0},
            "runtimeClassName": "nvidia",
            "serviceAccountName": "speech",
            "fsGroup": 0,
            "labels": {"team": "a", "example.com/tier": ""},
            "annotations": {"example.com/note": "any text: €"},
            "env": [
                {"name": "HF_ENDPOINT", "value": "https://hub.example.com"},
                {"name": "EMPTY", "value": ""},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url", "optional": True}}},
            ],
        },
    },
    "device": {"gpu": {"class": "hopper", "deviceClassName": "gpu.nvidia.com", "minMemoryGiB": 80}},
    "cpu": {**CPU, "engine": {"type": "ctranslate2", "dtype": "int8"}, "model": {"id": "/models/mine"}},
    "cpu-in-place": {**CPU, "rollout": {"maxSurge": 0}},
    "cpu-with-a-volume": {**CPU, **_cache()},
    "gpu-with-a-spare": {**T4, "rollout": {"maxUnavailable": 0}},
    "one-node-several-pods": {**_cache(), "replicas": 3},
    "one-pod-volume": {**ONE_POD, "rollout": {"maxSurge": 0, "maxUnavailable": "1%"}},
    "one-pod-volume-asleep": {**ONE_POD, "replicas": 0},
    "one-pod-volume-scaled-to-one": {**ONE_POD, **_scaled(maxReplicas=1)},
    "claim-in-bytes": _cache(size=20_000_000_000, storageClassName="", accessModes=["ReadWriteMany", "ReadWriteOnce"]),
    "own-claim": {"cache": {"existingClaim": "models"}},
    "nowhere-with-a-claim": _nowhere(cache={"existingClaim": "models"}),
    "nowhere-with-a-folder": {**_nowhere(), **_model("/models/mine")},
    "nowhere-for-the-demo": {"access": {"networkPolicy": {"egress": "none"}}},
    "claim-in-containers": {
        "cache": {"existingClaim": "models", "preload": True},
        **_model("owner/name"),
        "access": {"networkPolicy": {"egress": "none", "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}},
        "pod": {
            field: [
                {
                    "name": field.lower(),
                    "image": f"HOST.example:5000/a/b:1@sha256:{'0' * 64}",
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                }
            ]
            for field in ("initContainers", "sidecars")
        },
    },
    **{
        f"image-{number}": _pod(image=name)
        for number, name in enumerate(("localhost/x", "a", "a:1", "HOST:5000/x_y/z__a"))
    },
    "in-the-pod": {"cache": {"emptyDir": {"sizeLimit": "1.5Gi"}}},
    "image": {
        "model": {"id": "/models/whisper"},
        "cache": {"image": {"reference": "registry.example.com/whisper", "pullPolicy": "Never"}},
    },
    "ingress-for-any-host": _ingress(),
    "ingress-for-many-hosts": _ingress(
        host="*.example.com",
        path="/a/b.c/..d",
        className="nginx",
        tls={"secretName": "wildcard"},
        annotations={"a/b": "c"},
    ),
    "gateway": _gateway(
        parentRefs=[{"name": "web", "namespace": "infra", "sectionName": "https", "port": 443}, {"name": "other"}],
        hostnames=["*.example.com", "example.com"],
        path="/speech",
    ),
    "scaled-by-cpu": {**CPU, **_scaled(metric="cpu", target=80), **_pod(resources={"limits": {"cpu": 2}})},
    "scaled-at-its-own-speed": _scaled(
        behavior={
            "scaleDown": {
                "stabilizationWindowSeconds": 60,
                "policies": [{"type": "Pods", "value": 2, "periodSeconds": 30}],
            }
        }
    ),
    "scaled-by-cpu-with-defaults": {**CPU, **_scaled(metric="cpu", target=1000)},
    "scaled-to-a-fixed-number": {**_scaled(minReplicas=3), "replicas": 0},
    "fp8": {"gpu": {"class": "ada"}, "engine": {"kvCacheDtype": "fp8"}},
    "fp8-where-the-server-decides": {"engine": {"kvCacheDtype": "fp8", "dtype": "bfloat16"}},
    "fp32": {**T4, "engine": {"dtype": "float32", "kvCacheDtype": "fp32"}},
    "mig": {"gpu": {"class": "hopper", "resourceName": "nvidia.com/mig-2g.20gb", "minMemoryGiB": 20}},
    "no-policy": {"access": {"networkPolicy": {"enabled": False, "from": []}}},
    "nothing-in-the-maps": {"pod": {"labels": {}, "env": [], "resources": {}, "affinity": {}}},
}
"""Name → spec."""
