"""The owner of a request, whose turns, memory and quotas it takes.

An owner is the name of an API key, else the client's address. Behind a proxy that address is in `X-Forwarded-For`, which
any client can write: only what trusted proxies have written is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

from whisper_runtime.environment import Network

FORWARDED_FOR = "X-Forwarded-For"
IPV6_CLIENT_PREFIX = 64
"""Bits of an IPv6 address that make a client: providers give each of them at least a /64."""


def owner_of(request: web.BaseRequest, client: str, proxies: Sequence[Network]) -> str:
    """The owner of a request. `client` is the name of its API key, empty without keys."""
    if client:
        return f"key {client}"
    return f"address {client_address(request.remote or '', request.headers.getall(FORWARDED_FOR, ()), proxies)}"


def client_address(peer: str, forwarded_for: Sequence[str], proxies: Sequence[Network]) -> str:
    """The last address on the way that is not a trusted proxy's: each proxy appends the one that it got the request from.

    An entry that is no address ends the way: the entries before it may be made up.
    """
    if not proxies and ":" not in peer:
        return peer  # IPv4 as the kernel writes it: to parse it took 5 % of the event loop's time per request
    network = _network_of(peer)
    way = [entry for header in forwarded_for for entry in header.split(",")]
    while network is not None and way and _is_one_of(network, proxies):
        before = _network_of(way.pop())
        if before is None:
            break
        network = before
    return peer if network is None else _name(network)


def _network_of(text: str) -> Network | None:
    """An address, with or without a port or a zone, as a network of one address; None if it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return ip_network(address)


def _is_one_of(address: Network, proxies: Sequence[Network]) -> bool:
    return any(address.network_address in proxy for proxy in proxies)


def _name(address: Network) -> str:
    if isinstance(address, IPv6Network):
        return str(address.supernet(new_prefix=IPV6_CLIENT_PREFIX))
    return str(address.network_address)
