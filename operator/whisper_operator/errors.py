"""Errors that stop the operator or one reconciliation, each with a message for the person who can fix it."""

from __future__ import annotations


class StartError(Exception):
    """The operator cannot start: a setting is wrong, or the cluster lacks what it needs."""


class SpecError(Exception):
    """The API server accepted the spec, but the operator cannot apply it. `path` is the field, such as `pod.env[2].name`."""

    def __init__(self, path: str, message: str, reason: str = "InvalidSpec") -> None:
        super().__init__(f"{f'spec.{path}' if path else 'spec'}: {message}")
        self.path = path
        self.reason = reason
