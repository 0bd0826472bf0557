"""Settings as a frozen dataclass: one field per environment variable, whose metadata says how to parse and document it.

A field is named as its variable in lower case. Pure functions: the caller passes the environment.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MIN_MISSPELT_LENGTH = 12
"""A shorter unknown variable may belong to another program."""


def setting(parse: Callable[[str], Any], default: str | None, help_text: str, **more: Any) -> Any:
    """A field of a settings dataclass.

    `default` is written as in the environment; None makes the variable required. `more` may hold `alias` (a second name of the
    variable), `secret` (its value is never shown) and `hint` (what follows "must be set" if a required variable is missing).
    """
    metadata = {
        "parse": parse,
        "default": default,
        "help": help_text,
        "alias": None,
        "secret": False,
        "hint": f": {help_text}",
        **more,
    }
    if default is None:
        return dataclasses.field(metadata=metadata)
    value = parse(default)
    if isinstance(value, dict):  # dataclasses refuse a mutable default
        return dataclasses.field(default_factory=lambda: parse(default), metadata=metadata)
    return dataclasses.field(default=value, metadata=metadata, repr=not metadata["secret"])


def read_settings(settings: type[Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of the variables that are set, by field, and one message per variable that is wrong or missing."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in dataclasses.fields(settings):
        if "parse" in field.metadata:
            try:
                values |= _value_of(field, environ)
            except ValueError as error:
                problems.append(str(error))
    return values, problems


def misspelt(environ: Mapping[str, str], known: Sequence[str]) -> Iterator[str]:
    """One message per unknown variable whose name is close to a known one."""
    long_names = [name for name in known if len(name) >= MIN_MISSPELT_LENGTH]
    for name in sorted(set(environ) - set(known)):
        for near in difflib.get_close_matches(name, long_names, n=1, cutoff=0.9):
            yield f"{name} is unknown: did you mean {near}?"


def _value_of(field: dataclasses.Field[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """{field: value}, or {} if the variable is not set. An empty variable is not set. Raises ValueError."""
    name = field.name.upper()
    spellings = [one for one in (name, field.metadata["alias"]) if one and environ.get(one, "").strip()]
    if not spellings:
        if field.metadata["default"] is None:
            raise ValueError(f"{name} must be set{field.metadata['hint']}")
        return {}
    parsed: dict[str, Any] = {}
    for spelling in spellings:
        text = environ[spelling].strip()
        try:
            parsed[spelling] = field.metadata["parse"](text)
        except ValueError as error:
            shown = "its value" if field.metadata["secret"] else repr(text)
            raise ValueError(f"{spelling} must be {error}, not {shown}") from None
    value = parsed[spellings[0]]
    if any(other != value for other in parsed.values()):
        raise ValueError(f"{' and '.join(spellings)} mean the same and must not differ: set one of them")
    return {field.name: value}
