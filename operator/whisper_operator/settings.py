"""All settings of the operator: one frozen dataclass, read from the environment and one file of defaults, once.

A field is named as its variable in lower case; how it is read, its default and its help are in its metadata, as in the
server's settings. What the chart calls `defaults` (for every endpoint) is the file DEFAULTS_FILE; see `defaults`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from whisper_operator import environment as env
from whisper_operator.defaults import Defaults, parse_defaults
from whisper_operator.errors import StartError

__all__ = ["Defaults", "Settings"]

_DNS_NAME = r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"
_IMAGE = env.matching(r"[a-zA-Z0-9][!-~]{0,511}", "an image such as ghcr.io/example/whisper-server:1.0.0")


def _setting(parse: Callable[[str], Any], default: str | None, help_text: str) -> Any:
    """A field: how it is read, its default as one would write it (None: required), what the documentation says."""
    metadata = {"parse": parse, "default": default, "help": help_text}
    if default is None:
        return dataclasses.field(metadata=metadata)
    value = parse(default) if default else _empty(parse)
    if isinstance(value, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=value, metadata=metadata)


def _empty(parse: Callable[[str], Any]) -> Any:
    empty: dict[Callable[[str], Any], Any] = {env.namespaces: (), env.string_map: {}}
    return empty.get(parse, "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What was chosen for this operator."""

    server_image_gpu: str = _setting(_IMAGE, None, "image of servers that have a GPU")
    server_image_cpu: str = _setting(_IMAGE, None, "image of servers that have none")
    watch_namespaces: tuple[str, ...] = _setting(
        env.namespaces, "", "namespaces whose endpoints are looked after, between commas; empty: the whole cluster"
    )
    operator_namespace: str = _setting(
        env.matching(env.DNS_LABEL, "the name of a namespace"), "default", "where the operator's Lease lives"
    )
    lease_name: str = _setting(
        env.matching(_DNS_NAME, "the name of a Lease"), "whisper-operator", "operators with the same one share the work"
    )
    identity: str = _setting(
        env.matching(r"[!-~]{1,128}", "a name without spaces"),
        "",
        "who holds the Lease; must differ between replicas; empty: the host's name with a random part",
    )
    kubeconfig: str = _setting(
        env.matching(r".+", "paths"), "", "kubeconfig files; empty: the pod's own account, else `~/.kube/config`"
    )
    kube_context: str = _setting(env.matching(r".+", "a name"), "", "context of the kubeconfig; empty: its current one")
    port: int = _setting(
        env.whole_number(0, 65535), "8080", "port of /healthz, /readyz and /metrics; `0`: any free one"
    )
    interface: str = _setting(
        env.matching(r"[0-9A-Za-z.:_-]+", "an address such as 0.0.0.0 or ::"), "0.0.0.0", "address listened on"
    )
    workers: int = _setting(env.whole_number(1, 256), "16", "endpoints that are reconciled at a time")
    drift_seconds: float = _setting(
        env.number(1, 86_400), "60", "how often every endpoint is looked at again, were there no event"
    )
    missing_seconds: float = _setting(
        env.number(0.1, 3600), "5", "how often what an endpoint misses (a Secret …) is looked for"
    )
    lease_seconds: float = _setting(
        env.number(2, 3600), "15", "how long after the last sign of life of one operator another takes over"
    )
    read_secrets: bool = _setting(
        env.flag, "1", "whether Secrets that endpoints name are looked up, to say which one or which key is missing"
    )
    monitoring_namespace: str = _setting(
        env.matching(env.DNS_LABEL, "the name of a namespace"),
        "",
        "whose pods may reach the metrics port, besides the endpoint's own namespace",
    )
    pod_monitors: bool = _setting(env.flag, "1", "whether PodMonitors are made where the cluster has that kind")
    pod_monitor_labels: Mapping[str, str] = _setting(
        env.string_map, "", "labels that Prometheus selects PodMonitors by, as a JSON object"
    )
    ingress_controller: str = _setting(
        env.one_of("contour", "nginx", "haproxy", "alb", "openshift", "none"),
        "",
        "whose annotations Ingresses get, whatever their class says; empty: by the class",
    )
    cluster_domain: str = _setting(env.matching(_DNS_NAME, "a domain"), "cluster.local", "domain of Services")
    log_level: str = _setting(
        env.one_of("debug", "info", "warning", "error"), "info", "`debug`, `info`, `warning` or `error`"
    )
    log_format: str = _setting(env.one_of("json", "text"), "json", "`json` or `text`")
    defaults: Defaults = dataclasses.field(default_factory=Defaults)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], read: Callable[[str], str]) -> Settings:
        """The settings that the variables ask for; `read` opens DEFAULTS_FILE. StartError tells all that is wrong."""
        problems: list[str] = []
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if "parse" in field.metadata:
                try:
                    values |= _value_of(field, environ)
                except StartError as error:
                    problems.append(str(error))
        try:
            values["defaults"] = _defaults_of(environ.get("DEFAULTS_FILE", ""), read)
        except StartError as error:
            problems.append(str(error))
        if problems:
            raise StartError("; ".join(problems))
        return cls(**values)


def _value_of(field: dataclasses.Field[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """What the variable of a field says; nothing where it is not set. An empty variable is not set."""
    name = field.name.upper()
    text = environ.get(name, "").strip()
    if not text:
        if field.metadata["default"] is None:
            raise StartError(f"{name} must be set: {field.metadata['help']}")
        return {}
    try:
        return {field.name: field.metadata["parse"](text)}
    except ValueError as error:
        raise StartError(f"{name} must be {error}, not {text!r}") from None


def _defaults_of(path: str, read: Callable[[str], str]) -> Defaults:
    if not path:
        return Defaults()
    try:
        text = read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"DEFAULTS_FILE cannot be read: {error}") from None
    return parse_defaults(text)
