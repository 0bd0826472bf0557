"""JSON from clients. What Python's parser takes beyond JSON is refused: it cannot be sent back in an answer."""

from __future__ import annotations

import json
import math


def read_json(content: str | bytes) -> object:
    """Raises ValueError, which says why: also for numbers that are not finite, half of a surrogate pair, and what is nested too deep."""
    text = content.decode() if isinstance(content, bytes) else content
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if "\\u" in text:  # else UTF-8 has refused it
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number
