"""All settings of the operator: one frozen dataclass, read from the environment and one file of defaults, once.

A field is named as its variable in lower case, its default and help in its metadata, as in the server's settings.
What the chart calls `defaults` (for every endpoint) is the file DEFAULTS_FILE: a JSON object with the fields of `Defaults`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from whisper_operator.resource.fields import Document


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defaults:
    """What every endpoint's pods get unless its spec says otherwise. camelCase in the file."""

    image_registry: str = ""
    """Put before images that name no registry of their own: registry.example.com/mirror."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    ca_bundle_config_map: str = ""
    """ConfigMap in each endpoint's namespace whose key ca.crt holds certificates to trust (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE)."""
    hf_endpoint: str = ""
    """A mirror of Hugging Face's hub: HF_ENDPOINT."""
    offline: bool = False
    """HF_HUB_OFFLINE=1: nothing is downloaded."""
    tolerations: tuple[Document, ...] = ()
    node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fs_group: int | None = 2000
    """Group of mounted volumes; null: the platform chooses (OpenShift)."""
    pod_annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pod_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    env: tuple[Document, ...] = ()
    """Further environment variables of every server."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What was chosen for this operator."""

    server_image_gpu: str
    server_image_cpu: str
    watch_namespaces: tuple[str, ...] = ()
    """Empty: the whole cluster."""
    operator_namespace: str = "default"
    """Where the Lease lives."""
    lease_name: str = "whisper-operator"
    identity: str = ""
    """Who holds the Lease; empty: the host's name with a random part."""
    port: int = 8080
    """/healthz, /readyz and /metrics."""
    interface: str = "0.0.0.0"
    workers: int = 16
    """Endpoints that are reconciled at a time."""
    drift_seconds: float = 60
    """How often every endpoint is looked at again."""
    missing_seconds: float = 5
    """How often what an endpoint misses (a Secret …) is looked for."""
    lease_seconds: float = 15
    read_secrets: bool = True
    monitoring_namespace: str = ""
    """Whose pods may reach the metrics port, besides the endpoint's own namespace."""
    pod_monitors: bool = True
    """Whether PodMonitors are made where the cluster has that kind."""
    pod_monitor_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ingress_controller: str = ""
    """Which controller's annotations Ingresses get, whatever their class says: contour, nginx, haproxy, alb, none; empty: by the class."""
    cluster_domain: str = "cluster.local"
    log_level: str = "info"
    log_format: str = "json"
    defaults: Defaults = dataclasses.field(default_factory=Defaults)
