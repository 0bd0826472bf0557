"""Addresses that no proxy knows: what a shell or a process is told, where HTTP_PROXY is set, to reach them directly.

Whose addresses they are is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")
"""curl and Python ask for the second first, Go for the first."""


def exceptions(environment: Mapping[str, str], hosts: tuple[str, ...]) -> dict[str, str]:
    """Variables by which these hosts, besides those that are excepted already, are reached directly. None where there
    is no proxy. Hosts one by one: of a range such as 10.99.0.0/16, httpx understands the first address.
    """
    if not any(environment.get(written) for name in PROXIES for written in (name, name.upper())):
        return {}
    before = [host.strip() for name in EXCEPTIONS for host in environment.get(name, "").split(",")]
    together = ",".join(dict.fromkeys(filter(None, [*before, *hosts])))
    return dict.fromkeys(EXCEPTIONS, together)


@contextmanager
def direct(*hosts: str) -> Iterator[None]:
    """While it is open, clients in this process reach these hosts directly."""
    before = {name: os.environ.get(name) for name in EXCEPTIONS}
    os.environ.update(exceptions(os.environ, hosts))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
