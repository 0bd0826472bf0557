"""Parsers for one environment variable: text to value, or a ValueError that says what is allowed.

This module does not know which variables exist (see `settings`), and does not read `os.environ`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping

_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """A decimal integer within the bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not minimum <= int(text) <= maximum:
            raise ValueError(f"a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    """A finite decimal number within the bounds."""
    expected = f"a number from {minimum:g} to {maximum:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not math.isfinite(value) or not minimum <= value <= maximum:
            raise ValueError(expected)
        return value

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(word for word in words if word)}")
        return text.lower()

    return parse


def flag(text: str) -> bool:
    """A boolean."""
    if text.lower() not in _FLAGS:
        raise ValueError("0 or 1")
    return _FLAGS[text.lower()]


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Text that matches a regular expression in full."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(expected)
        return text

    return parse


def namespaces(text: str) -> tuple[str, ...]:
    """Comma-separated names of namespaces, without duplicates, in order."""
    found = tuple(part.strip() for part in text.split(","))
    if any(not re.fullmatch(DNS_LABEL, name) for name in found) or len(set(found)) < len(found):
        raise ValueError("different names of namespaces between commas")
    return found


def string_map(text: str) -> Mapping[str, str]:
    """A JSON object of strings."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError('a JSON object of strings such as {"release": "prometheus"}')
    return value
