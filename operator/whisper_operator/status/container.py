"""A container of a pod, as the messages of `containers` speak of it: its name, its last end, its field in the spec."""

from __future__ import annotations

import dataclasses

from whisper_operator import names
from whisper_operator.resource.fields import Document
from whisper_operator.status.accessors import get_list, get_map, get_str
from whisper_operator.status.endpoint_view import pod_name
from whisper_operator.status.issue import command

_NOT_A_CRASH = frozenset({"Unknown", "ContainerStatusUnknown"})
"""Terminations that the node caused: it restarted, or lost track of the container."""


@dataclasses.dataclass(frozen=True)
class Container:
    """A container of a pod: its spec and its status."""

    pod: Document
    spec: Document
    status: Document

    @property
    def name(self) -> str:
        return get_str(self.status, "name")

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])

    @property
    def who(self) -> str:
        return "the server" if self.name == names.CONTAINER else f"container {self.name}"

    @property
    def field(self) -> str:
        """Of `pod` in the spec, for containers of the author; a container that an admission webhook added has none."""
        inits = [get_str(one, "name") for one in get_list(self.pod, "spec", "initContainers")]
        restarts = get_str(self.spec, "restartPolicy") == "Always"
        return "" if self.name not in inits else "sidecars" if restarts else "initContainers"

    @property
    def waiting(self) -> Document:
        return get_map(self.status, "state", "waiting")

    @property
    def last_end(self) -> Document:
        """Its current or last termination; empty if it never terminated, or if the node caused it."""
        ended = get_map(self.status, "state", "terminated") or get_map(self.status, "lastState", "terminated")
        return {} if get_str(ended, "reason") in _NOT_A_CRASH else ended

    @property
    def is_up(self) -> bool:
        return bool(self.status.get("ready"))

    def see_logs(self, *, previous: bool = False, follow: bool = False) -> str:
        which = f"{' --previous' if previous else ''}{' -f' if follow else ''}"
        text = f"kubectl logs -n {self.namespace} {pod_name(self.pod)} -c {self.name}{which}"
        return command(text)
