"""How many requests one client address may make: a token bucket for each.

A bucket is kept as one number, the time at which it will be full again, so that another policy's rate and burst hold
from its first request on.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import msgspec

CAPACITY: Final = 65_536
"""Most addresses that are remembered; one takes about 200 bytes. The one that asked least recently is forgotten."""
MAX_FORWARDED: Final = 16
"""Most proxies in a row that are looked through."""
IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that count: whoever has one address has all that share these."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says of requests."""

    requests_per_minute: int = 120
    burst: int = 240
    """How many may come at once after a pause."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For is believed."""
    own_machine: bool = False
    """Whether clients on the loopback interface are limited too."""


class RateLimit:
    """The buckets of all addresses. Not for more than one thread."""

    def __init__(self, *, capacity: int = CAPACITY, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._monotonic = monotonic
        self._full_at: OrderedDict[int, float] = OrderedDict()

    def take(self, address: Address, limits: Limits) -> float:
        """Take a token; returns 0, or for how many seconds there will be none."""
        interval, now, key = 60 / limits.requests_per_minute, self._monotonic(), _key(address)
        full_at = max(self._full_at.get(key, now), now) + interval
        wait = full_at - now - limits.burst * interval
        if wait <= interval / 1e6:  # a sum of intervals is a little off
            self._full_at[key] = full_at
            wait = 0
        if key in self._full_at:
            self._full_at.move_to_end(key)
        if len(self._full_at) > self._capacity:
            self._full_at.popitem(last=False)
        return wait


def client_of(peer: Address, forwarded: str, trusted: Sequence[Network]) -> Address:
    """The client behind `peer`: the last address of X-Forwarded-For (`forwarded`) that is not a trusted proxy's.

    Whatever stands before that is the client's own word. What is no address ends the search.
    """
    client = peer
    for entry in reversed(forwarded.rsplit(",", MAX_FORWARDED)[-MAX_FORWARDED:]):
        found = _read(entry.strip())
        if found is None or not any(client in network for network in trusted):
            break
        client = found
    return client


def as_address(text: str) -> Address:
    """An address; of an IPv4 client of an IPv6 socket, the IPv4 one. Raises `ValueError`."""
    address = ip_address(text)
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _read(entry: str) -> Address | None:
    """An address as proxies write it: also `192.0.2.1:1234` and `[2001:db8::1]:1234`."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return as_address(entry)
    except ValueError:
        return None


def _key(address: Address) -> int:
    if isinstance(address, IPv4Address):
        return int(address)
    return int(address) >> (128 - IPV6_PREFIX) | 1 << IPV6_PREFIX  # no IPv4 address is as large
