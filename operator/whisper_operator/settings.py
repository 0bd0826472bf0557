"""All settings of the operator: one frozen dataclass, read once from the environment and one file of defaults.

A field has the name of its variable in lower case; its parser, default and help text are in its metadata, as in the
server's settings. The chart's `defaults` (for every endpoint) come from the file DEFAULTS_FILE; see `defaults`.
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
    """A field: its parser, its default as text (None: required), its help text."""
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
    """The settings of one operator process."""

    server_image_gpu: str = _setting(_IMAGE, None, "image of servers that have a GPU")
    server_image_cpu: str = _setting(_IMAGE, None, "image of servers that have none")
    watch_namespaces: tuple[str, ...] = _setting(
        env.namespaces, "", "namespaces whose endpoints are reconciled, separated by commas; empty: the whole cluster"
    )
    operator_namespace: str = _setting(
        env.matching(env.DNS_LABEL, "the name of a namespace"), "default", "namespace of the operator's Lease"
    )
    lease_name: str = _setting(
        env.matching(_DNS_NAME, "the name of a Lease"),
        "whisper-operator",
        "name of the Lease; of operators with the same Lease one is the leader",
    )
    identity: str = _setting(
        env.matching(r"[!-~]{1,128}", "a name without spaces"),
        "",
        "name that this replica writes into the Lease; must differ between replicas; empty: the host's name with a random part",
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
    workers: int = _setting(env.whole_number(1, 256), "16", "endpoints reconciled at the same time")
    drift_seconds: float = _setting(
        env.number(1, 86_400), "60", "resync period: how often every endpoint is reconciled even without an event"
    )
    missing_seconds: float = _setting(
        env.number(0.1, 3600),
        "5",
        "poll period: how often the operator checks for an object that an endpoint lacks (a Secret …)",
    )
    lease_seconds: float = _setting(
        env.number(2, 3600), "15", "how long after the leader's last renewal a standby takes over"
    )
    read_secrets: bool = _setting(
        env.flag,
        "1",
        "whether the operator reads the Secrets that endpoints name, to report which one or which key is missing",
    )
    monitoring_namespace: str = _setting(
        env.matching(env.DNS_LABEL, "the name of a namespace"),
        "",
        "namespace whose pods may reach the metrics port, in addition to the endpoint's own namespace",
    )
    pod_monitors: bool = _setting(env.flag, "1", "whether PodMonitors are created if the cluster has that kind")
    pod_monitor_labels: Mapping[str, str] = _setting(
        env.string_map, "", "labels that Prometheus selects PodMonitors by, as a JSON object"
    )
    ingress_controller: str = _setting(
        env.one_of("contour", "nginx", "haproxy", "alb", "openshift", "none"),
        "",
        "controller whose annotations Ingresses get, whatever their class; empty: decided by the class",
    )
    cluster_domain: str = _setting(env.matching(_DNS_NAME, "a domain"), "cluster.local", "domain of Services")
    log_level: str = _setting(
        env.one_of("debug", "info", "warning", "error"), "info", "`debug`, `info`, `warning` or `error`"
    )
    log_format: str = _setting(env.one_of("json", "text"), "json", "`json` or `text`")
    defaults: Defaults = dataclasses.field(default_factory=Defaults)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], read: Callable[[str], str]) -> Settings:
        """Parses the variables; `read` reads DEFAULTS_FILE. The StartError names every problem."""
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
    """The value of a field's variable; nothing if it is unset. An empty variable counts as unset."""
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
