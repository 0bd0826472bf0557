"""Parsers of environment variables: text → value, or a ValueError that says what the variable may be.

Which variables there are is in the settings of server and operator. Nothing here reads `os.environ`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

Choice = TypeVar("Choice", bound=StrEnum)
Network = IPv4Network | IPv6Network

_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""Name of a namespace (RFC 1123)."""


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A decimal integer within the bounds."""
    expected = f"a whole number {_bounds(minimum, maximum)}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError(expected)
        value = int(text)
        if value < minimum or (maximum is not None and value > maximum):
            raise ValueError(expected)
        return value

    return parse


def number(minimum: float, maximum: float | None = None) -> Callable[[str], float]:
    """A finite decimal number within the bounds."""
    expected = f"a number {_bounds(minimum, maximum)}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not math.isfinite(value) or value < minimum or (maximum is not None and value > maximum):
            raise ValueError(expected)
        return value

    return parse


def ascending_numbers(minimum: float, maximum: float) -> Callable[[str], tuple[float, ...]]:
    """Numbers separated by commas, at least one, in ascending order."""
    expected = f"numbers {_bounds(minimum, maximum)} between commas, each larger than the one before"
    parse_one = number(minimum, maximum)

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(parse_one(part.strip()) for part in text.split(","))
        except ValueError:
            raise ValueError(expected) from None
        if any(later <= earlier for earlier, later in itertools.pairwise(values)):
            raise ValueError(expected)
        return values

    return parse


def choice(choices: type[Choice], synonyms: Mapping[str, str] | None = None) -> Callable[[str], Choice]:
    """A value of the enum or one of its synonyms; case is ignored."""
    known = {member.value.lower(): member for member in choices}
    known |= {synonym.lower(): choices(value) for synonym, value in (synonyms or {}).items()}
    expected = f"one of {', '.join(member.value for member in choices)}"
    if synonyms:
        expected += f" (or {', '.join(synonyms)})"

    def parse(text: str) -> Choice:
        if text.lower() not in known:
            raise ValueError(expected)
        return known[text.lower()]

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, which are in lower case; case is ignored. Empty text stays empty."""

    def parse(text: str) -> str:
        if text and text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return parse


def optional(parse: Callable[[str], Choice]) -> Callable[[str], Choice | None]:
    """As `parse`, but empty text gives None."""
    return lambda text: parse(text) if text else None


def flag(text: str) -> bool:
    """0 or 1, or their synonyms: true, false, yes, no, on, off."""
    if text.lower() not in _FLAGS:
        raise ValueError("0 or 1")
    return _FLAGS[text.lower()]


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Text that the whole pattern matches, or empty text."""

    def parse(text: str) -> str:
        if text and not re.fullmatch(pattern, text):
            raise ValueError(expected)
        return text

    return parse


def names(text: str) -> tuple[str, ...]:
    """Different names, separated by commas."""
    found = tuple(part.strip() for part in text.split(",")) if text else ()
    if any(not re.fullmatch(r"[!-+\--~]{1,256}", name) for name in found) or len(set(found)) < len(found):
        raise ValueError("different names between commas, without spaces")
    return found


def listed(pattern: str, expected: str) -> Callable[[str], tuple[str, ...]]:
    """Different texts that the whole pattern matches, separated by commas, in order; empty text gives none."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in text.split(",")) if text else ()
        if any(not re.fullmatch(pattern, one) for one in found) or len(set(found)) < len(found):
            raise ValueError(expected)
        return found

    return parse


namespaces = listed(DNS_LABEL, "different names of namespaces between commas")
"""Different names of namespaces, separated by commas, in order."""


def string_map(text: str) -> Mapping[str, str]:
    """A JSON object of strings; empty text gives an empty one."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError('a JSON object of strings such as {"release": "prometheus"}')
    return value


def origins(text: str) -> tuple[str, ...]:
    """Web origins, separated by commas, or `*`."""
    found = tuple(part.strip() for part in text.split(",")) if text else ()
    if found != ("*",) and not all(_is_origin(origin) for origin in found):
        raise ValueError("* or origins such as https://app.example.com between commas, without a path")
    return found


def networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses, separated by commas; bits behind the prefix count for nothing, as in the API server's networks."""
    try:
        return tuple(ip_network(part.strip(), strict=False) for part in text.split(",")) if text else ()
    except ValueError:
        raise ValueError("networks such as 10.0.0.0/8 or fd00::/8 between commas") from None


def url_prefix(text: str) -> str:
    """A path without a slash at its end; `/` gives an empty prefix."""
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("a path such as /speech")
    return path


def folder(text: str) -> Path | None:
    """A path; empty text gives None."""
    return Path(text) if text else None


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        return False
    bare = f"{parts.scheme}://{parts.netloc}"
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text == bare and port_is_good


def _bounds(minimum: float, maximum: float | None) -> str:
    return f"from {_plain(minimum)} up" if maximum is None else f"from {_plain(minimum)} to {_plain(maximum)}"


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
