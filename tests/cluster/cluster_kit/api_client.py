"""Reads, applies and deletes objects of a cluster in this process: a kubectl process for each costs 0.1 to 0.2 CPU s.

Kinds are written as for kubectl: `deployment`, `wep`, `podmonitors.monitoring.coreos.com`, `pods,services`. What kubectl
itself decides or prints stays with kubectl.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

Document = dict[str, Any]
LIMIT_S = 30.0
GOOD = {200, 201, 202}
NOT_FOUND = 404
APPLY = "application/apply-patch+yaml"


class RequestFailed(Exception):
    """The API server refused or could not be reached; the message is what kubectl would say."""


class NotThere(RequestFailed):
    """There is no such object, or no such kind."""


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


class ApiClient:
    """A client of one kubeconfig, for any thread. It learns what is served when it meets a kind that it does not know."""

    def __init__(self, kubeconfig: Path) -> None:
        self._settings = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=self._settings)
        self._settings.proxy = None
        # A connection that was kept may have ended. Whatever is sent here does no more when it is sent twice.
        self._settings.retries = urllib3.Retry(1, redirect=0, allowed_methods=None)
        self._client = client.ApiClient(self._settings)
        self._namespace = _namespace_of(kubeconfig)
        self._resources: dict[str, Resource] = {}
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._learning = threading.Lock()

    def get(self, kind: str, name: str, namespace: str) -> Document:
        return _shown(self._served(kind, lambda resource: self._ask("GET", resource.path(namespace, name))))

    def find(self, kinds: str, namespace: str | None, selector: str) -> list[Document]:
        """Of one namespace, or of all. Like kubectl's, each item says its kind."""
        query = {"labelSelector": selector} if selector else {}
        found: list[Document] = []
        for kind in kinds.split(","):
            listed = self._served(kind, lambda resource: self._ask("GET", resource.path(namespace), query))
            about = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
            found += [_shown(about | item) for item in listed["items"]]
        return found

    def managers(self, kind: str, name: str, namespace: str) -> set[str]:
        """The field managers of an object; none where it is not there."""
        try:
            found = self._served(kind, lambda resource: self._ask("GET", resource.path(namespace, name)))
        except NotThere:
            return set()
        return {entry["manager"] for entry in found["metadata"].get("managedFields", [])}

    def apply(self, document: Document, manager: str) -> None:
        """Server-side, taking fields over from others; like kubectl's, with unknown fields refused."""
        about = document["metadata"]
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        resource = self._resource_of(document["apiVersion"], document["kind"])
        path = resource.path(about.get("namespace", self._namespace), about["name"])
        self._ask("PATCH", path, query, document, APPLY)

    def uid(self, kind: str, name: str, namespace: str) -> str:
        """Empty where it is not there."""
        try:
            return str(self.get(kind, name, namespace)["metadata"]["uid"])
        except NotThere:
            return ""

    def delete(self, kind: str, name: str, namespace: str, grace_period_s: int | None = None) -> None:
        """Its dependents go later. Without a name, all of a namespace. What is not there is no error."""
        body: Document = {"propagationPolicy": "Background"}
        if grace_period_s is not None:
            body["gracePeriodSeconds"] = grace_period_s
        with suppress(NotThere):
            self._served(kind, lambda resource: self._ask("DELETE", resource.path(namespace, name), None, body))

    def _resource_of(self, version: str, kind: str) -> Resource:
        """The resource that has objects of this kind, in a version that may not be the preferred one."""
        known = self._kinds.get((version, kind))
        if known is None:
            prefix = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            try:
                listed = self._ask("GET", prefix)
            except NotThere:
                listed = {"groupVersion": version, "resources": []}
            found = {(version, resource.kind): resource for resource in _resources(prefix, listed)}
            self._kinds = self._kinds | found
            known = found.get((version, kind))
        if known is None:
            raise RequestFailed(f'no matches for kind "{kind}" in version "{version}"')
        return known

    def _served(self, kind: str, ask: Any) -> Document:
        """Ask for the kind where it is thought to be; look again where it is not there any more, or not known yet."""
        known = self._resources.get(kind.lower())
        if known is not None:
            try:
                return dict(ask(known))
            except RequestFailed as failed:
                if "(NotFound): the server could not find" not in str(failed):
                    raise
        return dict(ask(self._learned(kind)))

    def _learned(self, kind: str) -> Resource:
        with self._learning:
            self._resources = {name: resource for resource in self._discovered() for name in resource.names}
        found = self._resources.get(kind.lower())
        if found is None:
            raise RequestFailed(f'error: the server doesn\'t have a resource type "{kind}"')
        return found

    def _discovered(self) -> Iterator[Resource]:
        """The least important first, so that what comes later may take its names: the core group wins, as with kubectl."""
        groups = self._ask("GET", "/apis")["groups"]
        versions = [group["preferredVersion"]["groupVersion"] for group in reversed(groups)]
        for version in versions:
            try:
                yield from _resources(f"/apis/{version}", self._ask("GET", f"/apis/{version}"))
            except RequestFailed:  # an extension that is not there right now
                continue
        yield from _resources("/api/v1", self._ask("GET", "/api/v1"))

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content: str = "application/json",
    ) -> Document:
        url = f"{self._settings.host}{path}{f'?{urlencode(query)}' if query else ''}"
        # It is read each time, because a kubeconfig may name a file for its token.
        authorization = self._settings.auth_settings().get("BearerToken", {}).get("value")
        headers = {"Accept": "application/json"} | ({"authorization": authorization} if authorization else {})
        headers |= {"Content-Type": content} if body is not None else {}
        sent = json.dumps(body) if content == APPLY else body
        try:
            answer = self._client.call_api(method, url, header_params=headers, body=sent, _request_timeout=LIMIT_S)
            raw: bytes = answer.read()
        except (urllib3.exceptions.HTTPError, client.ApiException) as lost:
            raise RequestFailed(f"The connection to the server was refused or lost: {lost}") from None
        if answer.status not in GOOD:
            raise (NotThere if answer.status == NOT_FOUND else RequestFailed)(_message(answer.status, raw))
        document: Document = json.loads(raw)
        return document


def _namespace_of(kubeconfig: Path) -> str:
    """Where what names no namespace belongs."""
    _, active = config.list_kube_config_contexts(str(kubeconfig))
    return str(active["context"].get("namespace", "default"))


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
