"""An issue: a reason, a message for the person who can fix it, and whether it needs a fix.

Also functions that keep messages short and stable: the same issue gives the same text, however often it happens.
"""

from __future__ import annotations

import dataclasses
import re

MAX_MESSAGE = 1024
MAX_WORDS = 600
"""Longest quote of Kubernetes or a container, which leaves room for the remedy."""

_HEX_ID = re.compile(r"\b[0-9a-f]{32,64}\b")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Issue:
    """Something that keeps the endpoint from its desired state."""

    reason: str
    message: str
    hard: bool = True
    """It does not resolve by itself, so Ready is False even while other pods serve."""


def clipped(text: str, limit: int = MAX_MESSAGE) -> str:
    """At most `limit` characters, cut at a space where one is near."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 2]
    head, space, tail = kept.rpartition(" ")
    return f"{head if space and len(tail) < 80 else kept} …"


def quoted(words: str, limit: int = MAX_WORDS) -> str:
    """A quoted message on one line, without ids that change with every attempt, and with one full stop at the end."""
    steady = _HEX_ID.sub("…", " ".join(words.split()))
    return (clipped(steady, limit).rstrip("., ") or "nothing") + "."


def command(text: str) -> str:
    """A shell command in backquotes, so that it can be copied."""
    return f"`{text}`"


def counted(n: int, of: int) -> str:
    """A count of pods: `1 of 3 pods`, or `3 pods` if that is all."""
    return f"{n} of {of} pods" if n < of else "1 pod" if n == 1 else f"{n} pods"


def joined(*sentences: str) -> str:
    """A message from the sentences that are not empty."""
    return clipped(" ".join(sentence for sentence in sentences if sentence))
