"""JSON from clients. What Python's parser takes beyond JSON and no field refuses is refused here: it cannot be sent back in an answer."""

from __future__ import annotations

import json


def read_json(content: str | bytes) -> object:
    """Raises ValueError, which says why: also for half of a surrogate pair, and for what is nested too deep.

    NaN and infinity are refused by the fields, by name.
    """
    text = content.decode() if isinstance(content, bytes) else content
    try:
        value = json.loads(text)
        if "\\u" in text:  # else UTF-8 has refused it
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    return value
