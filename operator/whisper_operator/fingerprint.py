"""Whether a live object still is what was applied: digests of documents, and of a live one as far as a wish goes.

Pure. The API server fills in defaults and other controllers add fields of theirs: only what the wish names counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from whisper_operator.resource.fields import Document


def digest(value: Any) -> bytes:
    """The same for equal values, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def projected(live: Any, wish: Any) -> Any:
    """The live value where the wish has one: of objects its keys only, of lists all if there are more or fewer items."""
    if isinstance(wish, Mapping) and isinstance(live, Mapping):
        return {key: projected(live[key], wish[key]) for key in wish if key in live}
    if isinstance(wish, list | tuple) and isinstance(live, list) and len(wish) == len(live):
        return [projected(one, wanted) for one, wanted in zip(live, wish, strict=True)]
    return live


def fingerprint(live: Document, wish: Document) -> bytes:
    """Of a live object, seen through what was wished for."""
    return digest(projected(live, wish))
