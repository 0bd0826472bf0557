"""What stops the operator or one reconciliation, each with a text for the person who can mend it. No API here."""

from __future__ import annotations


class StartError(Exception):
    """The operator cannot start: a setting is wrong, or the cluster lacks what it needs."""


class SpecError(Exception):
    """A spec that the API server accepted but that cannot be carried out. `path` is the field, such as `pod.env[2].name`."""

    def __init__(self, path: str, message: str, reason: str = "InvalidSpec") -> None:
        super().__init__(f"{f'spec.{path}' if path else 'spec'}: {message}")
        self.path = path
        self.reason = reason
