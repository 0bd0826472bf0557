"""All settings of the operator: one frozen dataclass, read once from the environment and one file of defaults.

A field has the name of its variable in lower case; its parser, default and help text are in its metadata, as in the
server's settings. The chart's `defaults` (for every endpoint) come from the file DEFAULTS_FILE; see `defaults`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from whisper_operator.defaults import Defaults, parse_defaults
from whisper_operator.errors import StartError
from whisper_operator.resource.fields import IMAGE_REFERENCE
from whisper_runtime import environment as env
from whisper_runtime.settings import read_settings, setting

__all__ = ["Defaults", "Settings"]

_DNS_NAME = r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"
_HTTP_URL = env.matching(
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?",
    "an address such as http://prometheus-operated.monitoring:9090",
)
_IMAGE = env.matching(
    rf"(?=[a-zA-Z0-9][!-~]{{0,511}}$){IMAGE_REFERENCE}", "an image such as ghcr.io/example/whisper-server:1.0.0"
)
_REPOSITORIES = env.listed(
    r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}|localhost)"
    r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*",
    "different registries or repositories such as registry.example.com/team between commas, each with its host",
)
_ANNOTATIONS = env.listed(
    r"[A-Za-z0-9*._/-]{1,317}", "different keys of annotations such as *-snippet between commas, * for any characters"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one operator process."""

    server_image_gpu: str = setting(_IMAGE, None, "image of servers that have a GPU")
    server_image_cpu: str = setting(_IMAGE, None, "image of servers that have none")
    watch_namespaces: tuple[str, ...] = setting(
        env.namespaces, "", "namespaces whose endpoints are reconciled, separated by commas; empty: the whole cluster"
    )
    operator_namespace: str = setting(
        env.matching(env.DNS_LABEL, "the name of a namespace"), "default", "namespace of the operator's Lease"
    )
    lease_name: str = setting(
        env.matching(_DNS_NAME, "the name of a Lease"),
        "whisper-operator",
        "name of the Lease; of operators with the same Lease one is the leader",
    )
    identity: str = setting(
        env.matching(r"[!-~]{1,128}", "a name without spaces"),
        "",
        "name that this replica writes into the Lease; must differ between replicas; empty: the host's name with a random part",
    )
    kubeconfig: str = setting(
        env.matching(r".+", "paths"), "", "kubeconfig files; empty: the pod's own account, else `~/.kube/config`"
    )
    kube_context: str = setting(env.matching(r".+", "a name"), "", "context of the kubeconfig; empty: its current one")
    port: int = setting(env.whole_number(0, 65535), "8080", "port of /healthz, /readyz and /metrics; `0`: any free one")
    interface: str = setting(
        env.matching(r"[0-9A-Za-z.:_-]+", "an address such as 0.0.0.0 or ::"), "0.0.0.0", "address listened on"
    )
    workers: int = setting(env.whole_number(1, 256), "16", "endpoints reconciled at the same time")
    drift_seconds: float = setting(
        env.number(1, 86_400), "60", "resync period: how often every endpoint is reconciled even without an event"
    )
    missing_seconds: float = setting(
        env.number(0.1, 3600),
        "5",
        "poll period: how often the operator checks for an object that an endpoint lacks (a Secret …)",
    )
    lease_seconds: float = setting(
        env.number(2, 3600), "15", "how long after the leader's last renewal a standby takes over"
    )
    read_secrets: bool = setting(
        env.flag,
        "1",
        "whether the operator reads the Secrets that endpoints name, to report which one or which key is missing",
    )
    monitoring_namespace: str = setting(
        env.matching(env.DNS_LABEL, "the name of a namespace"),
        "",
        "namespace whose pods may reach the metrics port, in addition to the endpoint's own namespace",
    )
    pod_monitors: bool = setting(env.flag, "1", "whether PodMonitors are created if the cluster has that kind")
    pod_monitor_labels: Mapping[str, str] = setting(
        env.string_map, "", "labels that Prometheus selects PodMonitors by, as a JSON object"
    )
    prometheus_url: str = setting(
        _HTTP_URL,
        "",
        "Prometheus that KEDA asks for the metrics of pods, where KEDA is installed; empty: they are asked of the custom metrics API",
    )
    ingress_controller: str = setting(
        env.one_of("contour", "nginx", "haproxy", "alb", "openshift", "none"),
        "",
        "controller whose annotations Ingresses get, whatever their class; empty: decided by the class",
    )
    allowed_image_registries: tuple[str, ...] = setting(
        _REPOSITORIES,
        "",
        "registries, or repositories and what is below them, that images in endpoints may come from, separated by commas; empty: any",
    )
    refused_annotations: tuple[str, ...] = setting(
        _ANNOTATIONS,
        "*-snippet,*-snippets,*/config-backend*",
        "annotations that endpoints may not set on Ingresses, Services and pods, separated by commas; `*`: any characters",
    )
    image_rollout_at_once: int = setting(
        env.whole_number(0, 1000),
        "5",
        "endpoints that get a new default image of the server at the same time; the next ones follow when these are ready; `0`: all at once",
    )
    cluster_domain: str = setting(env.matching(_DNS_NAME, "a domain"), "cluster.local", "domain of Services")
    log_level: str = setting(
        env.one_of("debug", "info", "warning", "error"), "info", "`debug`, `info`, `warning` or `error`"
    )
    log_format: str = setting(env.one_of("json", "text"), "json", "`json` or `text`")
    defaults: Defaults = dataclasses.field(default_factory=Defaults)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], read: Callable[[str], str]) -> Settings:
        """Parses the variables; `read` reads DEFAULTS_FILE. The StartError names every problem."""
        values, problems = read_settings(cls, environ)
        try:
            values["defaults"] = _defaults_of(environ.get("DEFAULTS_FILE", ""), read)
        except StartError as error:
            problems.append(str(error))
        if problems:
            raise StartError("; ".join(problems))
        return cls(**values)


def _defaults_of(path: str, read: Callable[[str], str]) -> Defaults:
    if not path:
        return Defaults()
    try:
        text = read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"DEFAULTS_FILE cannot be read: {error}") from None
    return parse_defaults(text)
