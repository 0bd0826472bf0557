"""What a judgement comes to: a reason, a message for the person who can mend it, and whether somebody must.

Also how messages are kept short and steady: the same trouble gives the same text, however often it happens.
"""

from __future__ import annotations

import dataclasses
import re

MAX_MESSAGE = 1024
MAX_WORDS = 600
"""Of what Kubernetes or a container said: enough room is left for what to do about it."""

_HEX_ID = re.compile(r"\b[0-9a-f]{32,64}\b")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Issue:
    """Something that is not as the spec asks."""

    reason: str
    message: str
    hard: bool = True
    """Does not pass by itself: it holds back Ready even while other pods serve."""


def clipped(text: str, limit: int = MAX_MESSAGE) -> str:
    """At most `limit` characters, cut at a space where one is near."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 2]
    head, space, tail = kept.rpartition(" ")
    return f"{head if space and len(tail) < 80 else kept} …"


def quoted(words: str, limit: int = MAX_WORDS) -> str:
    """Somebody else's words on one line, without ids that change with every try, and with one full stop at the end."""
    steady = _HEX_ID.sub("…", " ".join(words.split()))
    return (clipped(steady, limit).rstrip("., ") or "nothing") + "."


def command(text: str) -> str:
    """Something to type, marked so that it can be copied whole."""
    return f"`{text}`"


def counted(n: int, of: int) -> str:
    """Pods: `1 of 3 pods`, or `3 pods` where that is all."""
    return f"{n} of {of} pods" if n < of else "1 pod" if n == 1 else f"{n} pods"


def joined(*sentences: str) -> str:
    """A message of the sentences that say something."""
    return clipped(" ".join(sentence for sentence in sentences if sentence))
