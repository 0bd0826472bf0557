"""Reads objects of a cluster in this process, for tests that poll: a kubectl process for each look costs 0.1 CPU s.

Kinds are written as for kubectl: `deployment`, `wep`, `podmonitors.monitoring.coreos.com`, `pods,services`. What is
written, and what kubectl itself prints, stays with kubectl.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

Document = dict[str, Any]
LIMIT_S = 30.0
OK = 200


class ReadFailed(Exception):
    """The API server refused or could not be reached; the message is what kubectl would say."""


@dataclass(frozen=True)
class Resource:
    """A resource that the API server serves."""

    prefix: str
    """`/api/v1` or `/apis/GROUP/VERSION`."""
    plural: str
    kind: str
    is_namespaced: bool
    names: frozenset[str]
    """All that it may be called, in lower case."""

    def path(self, namespace: str | None, name: str = "") -> str:
        where = f"/namespaces/{namespace}" if self.is_namespaced and namespace is not None else ""
        return f"{self.prefix}{where}/{self.plural}{f'/{name}' if name else ''}"


class ApiReader:
    """A client of one kubeconfig, for any thread. It learns what is served when it meets a kind that it does not know."""

    def __init__(self, kubeconfig: Path) -> None:
        self._settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=self._settings)
        self._settings.proxy = None
        self._settings.retries = urllib3.Retry(1, redirect=0)  # a connection that was kept may have ended
        self._client = client.ApiClient(self._settings)
        self._resources: dict[str, Resource] = {}
        self._learning = threading.Lock()

    def get(self, kind: str, name: str, namespace: str) -> Document:
        return _shown(self._served(kind, lambda resource: self._read(resource.path(namespace, name))))

    def find(self, kinds: str, namespace: str | None, selector: str) -> list[Document]:
        """Of one namespace, or of all. Like kubectl's, each item says its kind."""
        query = {"labelSelector": selector} if selector else {}
        found: list[Document] = []
        for kind in kinds.split(","):
            listed = self._served(kind, lambda resource: self._read(resource.path(namespace), query))
            about = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
            found += [_shown(about | item) for item in listed["items"]]
        return found

    def _served(self, kind: str, ask: Any) -> Document:
        """Ask for the kind where it is thought to be; look again where it is not there any more, or not known yet."""
        known = self._resources.get(kind.lower())
        if known is not None:
            try:
                return dict(ask(known))
            except ReadFailed as failed:
                if "(NotFound): the server could not find" not in str(failed):
                    raise
        return dict(ask(self._learned(kind)))

    def _learned(self, kind: str) -> Resource:
        with self._learning:
            self._resources = {name: resource for resource in self._discovered() for name in resource.names}
        found = self._resources.get(kind.lower())
        if found is None:
            raise ReadFailed(f'error: the server doesn\'t have a resource type "{kind}"')
        return found

    def _discovered(self) -> Iterator[Resource]:
        """The least important first, so that what comes later may take its names: the core group wins, as with kubectl."""
        groups = self._read("/apis")["groups"]
        versions = [group["preferredVersion"]["groupVersion"] for group in reversed(groups)]
        for version in versions:
            try:
                yield from _resources(f"/apis/{version}", self._read(f"/apis/{version}"))
            except ReadFailed:  # an extension that is not there right now
                continue
        yield from _resources("/api/v1", self._read("/api/v1"))

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        url = f"{self._settings.host}{path}{f'?{urlencode(query)}' if query else ''}"
        # Read anew each time: a kubeconfig may have a token in a file.
        authorization = self._settings.auth_settings().get("BearerToken", {}).get("value")
        headers = {"Accept": "application/json"} | ({"authorization": authorization} if authorization else {})
        try:
            answer = self._client.call_api("GET", url, header_params=headers, _request_timeout=LIMIT_S)
            body: bytes = answer.read()
        except (urllib3.exceptions.HTTPError, client.ApiException) as lost:
            raise ReadFailed(f"The connection to the server was refused or lost: {lost}") from None
        if answer.status != OK:
            raise ReadFailed(_message(answer.status, body))
        document: Document = json.loads(body)
        return document


def _shown(document: Document) -> Document:
    """As kubectl shows it."""
    document["metadata"].pop("managedFields", None)
    return document


def _resources(prefix: str, listed: Document) -> Iterator[Resource]:
    group = listed["groupVersion"].rpartition("/")[0]
    for entry in listed["resources"]:
        if "/" in entry["name"]:
            continue
        bare = {entry["name"], entry.get("singularName") or entry["kind"].lower(), entry["kind"].lower()}
        names = {*bare, *entry.get("shortNames", [])} | ({f"{name}.{group}" for name in bare} if group else set())
        yield Resource(prefix, entry["name"], entry["kind"], entry["namespaced"], frozenset(names))


def _message(code: int, body: bytes) -> str:
    try:
        status = json.loads(body)
        return f"Error from server ({status.get('reason', code)}): {status.get('message', '')}"
    except ValueError:
        return f"Error from server ({code}): {body.decode(errors='replace')}"
