"""The part of the spec about access: clients, network, Service, Ingress, Gateway. Data only; see `spec`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from whisper_operator.resource import choices
from whisper_operator.resource.fields import (
    LABEL_KEY,
    NETWORK,
    NETWORK_OR_ADDRESS,
    OBJECT_NAME,
    REQUIRED,
    Document,
    spec_field,
)

PATH_PATTERN = r"^/$|^(/[A-Za-z0-9._~-]+)+$"
HOST_PATTERN = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""The old way to name an Ingress's class; the API server refuses an Ingress with both annotation and field."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecretRef:
    """A Secret in the endpoint's namespace."""

    name: str = spec_field("Name of the Secret, in the endpoint's namespace.", REQUIRED, **OBJECT_NAME)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkPolicy:
    """Limits the connections to the pods."""

    enabled: bool = spec_field("Whether a NetworkPolicy is created.", True)
    from_: tuple[Document, ...] = spec_field(
        "Peers that may reach the HTTP port; empty: all. Only the endpoint's own namespace and the monitoring namespace may reach the metrics port.",
        (),
        embedded="io.k8s.api.networking.v1.NetworkPolicyPeer",
        maxItems=32,
    )
    egress: choices.Egress = spec_field(
        "Where the pods may connect to. any: anywhere; hub: DNS, port 443 for Hugging Face, the port of the registry, storage or address that model.id names, where AWS gives keys if an s3:// model has no Secret, and the ports of the operator's proxy and mirror; none: nowhere, for a model that is in the image or in a cache that stays.",
        choices.Egress.ANY,
    )
    to: tuple[Document, ...] = spec_field(
        "Peers that the pods may connect to besides what egress hub or none lets through, at any port: a mirror, a proxy, a storage. For names, add the cluster's DNS where egress is none.",
        (),
        embedded="io.k8s.api.networking.v1.NetworkPolicyPeer",
        maxItems=32,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quotas:
    """Limits of each client in each pod. A client is an API key, or without keys an address."""

    max_requests: int | None = spec_field(
        "Requests of one client in flight; more are refused with 429. Absent: no limit.", minimum=1, maximum=100_000
    )
    max_audio_seconds_per_minute: int | None = spec_field(
        "Seconds of audio that one client may send per minute; then it is refused with 429. Absent: no limit.",
        minimum=1,
        maximum=10_000_000,
    )
    max_bytes: int | None = spec_field(
        "Bytes of uploads and decoded audio that one client may hold at a time, at least maxUploadBytes. Absent: no limit but the server's memory.",
        minimum=1024,
        maximum=1_099_511_627_776,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Realtime:
    """Limits of realtime sessions in each pod."""

    max_sessions: int | None = spec_field(
        "Sessions at a time; more are refused with 429. Absent: as many as the engine keeps up with, by its measured speed.",
        minimum=1,
        maximum=100_000,
    )
    idle_seconds: int | None = spec_field(
        "Longest time without sound before a session is closed. Absent: 300.", minimum=1, maximum=86_400
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """Keys and limits of requests."""

    api_keys_secret_ref: SecretRef | None = spec_field(
        "Secret whose keys are names of clients and whose values are their API keys. Changes need no restart. Absent: no key is required."
    )
    max_upload_bytes: int | None = spec_field(
        "Largest request body. Absent: 25 MiB.", minimum=1024, maximum=2_147_483_648
    )
    max_queue_seconds: int | None = spec_field(
        "Longest expected wait before requests are refused with 429, and longest time that one alone may take before it is refused with 413. Absent: 300.",
        minimum=1,
        maximum=86_400,
    )
    quotas: Quotas = spec_field("Limits of each client.", Quotas())
    realtime: Realtime = spec_field("Limits of realtime sessions.", Realtime())
    web_page: bool | None = spec_field(
        "The page at / to try the server on. true: exposure leads to it, too; false: there is none. Absent: inside the cluster only."
    )
    trusted_proxies: tuple[str, ...] = spec_field(
        "Networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8: those of the Ingress controller's pods. Without it and without keys, all clients behind a proxy are one.",
        (),
        maxItems=32,
        items=NETWORK_OR_ADDRESS,
    )
    network_policy: NetworkPolicy = spec_field("Limits the connections to the pods.", NetworkPolicy())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """The Service in front of the pods."""

    type: choices.ServiceType = spec_field("How the Service is reached.", choices.ServiceType.CLUSTER_IP)
    annotations: Mapping[str, str] = spec_field(
        "Annotations of the Service, for cloud load balancers.", {}, maxProperties=64
    )
    load_balancer_class: str | None = spec_field(
        "The controller that makes the load balancer, such as service.k8s.aws/nlb. Absent: the cluster's cloud. Cannot be changed while type is LoadBalancer.",
        minLength=1,
        **LABEL_KEY,
    )
    load_balancer_source_ranges: tuple[str, ...] = spec_field(
        "Networks whose clients the load balancer lets in, such as 203.0.113.0/24. Empty: all.",
        (),
        maxItems=64,
        items=NETWORK,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngressTls:
    """The certificate of an Ingress."""

    secret_name: str = spec_field(
        "Secret of type kubernetes.io/tls with the certificate for host.", REQUIRED, **OBJECT_NAME
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingress:
    """An Ingress to the Service."""

    class_name: str | None = spec_field("IngressClass. Absent: the cluster's default one.", **OBJECT_NAME)
    host: str | None = spec_field(
        "Host name that clients call. Absent: any.", minLength=1, maxLength=253, pattern=HOST_PATTERN
    )
    path: str = spec_field(
        "Prefix of all routes, such as /speech: clients then use https://HOST/speech/v1.",
        "/",
        maxLength=256,
        pattern=PATH_PATTERN,
    )
    tls: IngressTls | None = spec_field("Certificate. Absent: plain HTTP, or the controller's default.")
    annotations: Mapping[str, str] = spec_field(
        "Annotations of the Ingress. They are added to those that the operator sets for the class's controller, and override them.",
        {},
        maxProperties=64,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gateway:
    """An HTTPRoute to the Service."""

    parent_refs: tuple[Document, ...] = spec_field(
        "The Gateways, and their listeners, that the route attaches to.",
        REQUIRED,
        embedded="gateway.ParentReference",
        minItems=1,
        maxItems=8,
    )
    hostnames: tuple[str, ...] = spec_field(
        "Host names that clients call. Empty: those of the listener.",
        (),
        maxItems=16,
        items={"minLength": 1, "maxLength": 253, "pattern": HOST_PATTERN},
    )
    path: str = spec_field("Prefix of all routes, such as /speech.", "/", maxLength=256, pattern=PATH_PATTERN)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exposure:
    """The route from outside the cluster: an Ingress or an HTTPRoute."""

    ingress: Ingress | None = spec_field("An Ingress. Either this or gateway.")
    gateway: Gateway | None = spec_field("An HTTPRoute of the Gateway API. Either this or ingress.")
