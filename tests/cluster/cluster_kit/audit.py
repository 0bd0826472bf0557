"""What ServiceAccounts have asked of the apiserver: its audit log, read.

With it a test can tell that an operator writes nothing where nothing has changed, and which rights it really uses. The
components' own requests, and those of tests as administrator, are not logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:masters", "system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
    ],
}
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One request that was answered, or a watch that has begun. What it is about is empty where it names no resource."""

    verb: str
    resource: str
    """With its group and subresource: deployments.apps, pods/log."""
    namespace: str
    name: str
    code: int
    path: str

    @property
    def writes(self) -> bool:
        return self.verb in WRITES


def requests(log: Path, user: str) -> list[Request]:
    """A watch is in it once, from its beginning on."""
    events = _events(log) if log.exists() else ()
    found = {event["auditID"]: _request(event) for event in events if event["user"]["username"] == user}
    return list(found.values())


def _events(log: Path) -> Iterator[dict[str, Any]]:
    with log.open() as lines:
        for line in lines:
            if not line.endswith("\n"):
                return  # being written just now
            yield json.loads(line)


def _request(event: dict[str, Any]) -> Request:
    about = event.get("objectRef", {})
    resource = ".".join(filter(None, [about.get("resource", ""), about.get("apiGroup", "")]))
    return Request(
        verb=event["verb"],
        resource="/".join(filter(None, [resource, about.get("subresource", "")])),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        path=event["requestURI"],
    )
