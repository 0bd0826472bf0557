"""A WhisperEndpoint on a test cluster: written, watched, and its conditions waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster_kit.cluster import Cluster, Document
from cluster_kit.simulated_pods import PREFIX, STAGE
from operator_kit.endpoints import make_endpoint, merged
from operator_kit.judgements import by_type, short
from whisper_operator.names import selector_text

CPU: Mapping[str, Any] = {"gpu": {"class": "none"}}
"""Runs on nodes without a GPU."""


SOON_S = 10.0
"""Within this time an issue is reported, and disappears once it is fixed."""
START_S = 30.0
"""For what is not under test: the first pod of an endpoint, on a busy machine."""


def course(stage: str, **more: str) -> dict[str, Any]:
    """A spec whose pods take this course from the start; `more` as in `simulated_pods`: back_off="1s"."""
    notes = {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in more.items()}
    return {"pod": {"annotations": {STAGE: stage, **notes}}}


def stuck(reason: str) -> dict[str, str]:
    """Conditions of an endpoint that does not serve and is stuck."""
    return {"Ready": f"False {reason}", "Available": f"False {reason}", "Progressing": f"False {reason}"}


@dataclass(frozen=True)
class LiveEndpoint:
    """A handle; `apply` creates the endpoint."""

    cluster: Cluster
    namespace: str
    name: str = "speech"

    def apply(self, spec: Mapping[str, Any] | None = None) -> None:
        """Without a GPU, unless `spec` asks for one."""
        document = make_endpoint(merged(CPU, spec or {}), namespace=self.namespace, name=self.name)
        self.cluster.apply(document, manager="user")

    def document(self) -> Document:
        return self.cluster.get("wep", self.name, self.namespace)

    def pods(self) -> list[Document]:
        return self.cluster.find("pods", self.namespace, selector_text(self.name))

    def message(self, type_: str = "Ready") -> str:
        return by_type(self.document()["status"])[type_][2]

    def expect(self, limit_s: float, **conditions: str) -> dict[str, str]:
        """Wait until each of these conditions reads like this, `True Ready`, of the spec as it is now; the messages of all by type."""
        last: dict[str, str] = {}

        def found() -> dict[str, str] | None:
            document = self.document()
            status = document.get("status", {"conditions": []})
            last.clear()
            last.update(short(status))
            # The status of the spec before reads `True Ready` as well.
            is_of_now = status.get("observedGeneration") == document["metadata"]["generation"]
            holds = is_of_now and conditions.items() <= last.items()
            return {type_: message for type_, (_, _, message) in by_type(status).items()} if holds else None

        try:
            return self.cluster.wait(found, limit_s, f"{self.name} is {conditions}")
        except AssertionError as error:
            raise AssertionError(f"{error}\nit is {last}: {self._all_messages()}") from None

    def expect_words(self, limit_s: float, type_: str, words: str) -> None:
        """Wait until the message of a condition has these words."""
        self.cluster.wait(lambda: words in self.message(type_), limit_s, f"{type_} says: {words}")

    def _all_messages(self) -> str:
        return "\n".join(f"{type_}: {text}" for type_, text in by_type(self.document().get("status", {})).items())

    def has_been(self, reason: str) -> bool:
        """Whether an Event about it gave this reason."""
        selector = f"--field-selector=involvedObject.name={self.name},reason={reason}"
        return bool(self.cluster.kubectl("get", "events", f"--namespace={self.namespace}", selector, "-oname").strip())
