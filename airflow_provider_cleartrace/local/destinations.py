"""Which addresses a caller may make this server call: public ones, and the hosts that its operator named."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_cleartrace.local.engine.errors import InputError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_SCHEMES = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_CLOSED = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's metadata and DNS, in a public range
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments, where a cloud keeps its metadata
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4, which lead to addresses nobody checked
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of a site: the mapping is the site's own
    ipaddress.IPv6Network("fec0::/10"),  # site-local, the predecessor of fc00::/7
)
"""Not for a caller to reach, though some releases of ``ipaddress`` call them global."""

_RULE = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/@?#\s]+)(?::(?P<port>[0-9]{1,5}))?")


class Unresolved(InputError):
    """The resolver knows no address for the host, perhaps only for now."""


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is on the public internet, also the IPv4 address inside an IPv6 one."""
    if any(address in network for network in _CLOSED if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        inside = _ipv4_inside(address)
        if inside:
            return all(is_public(one) for one in inside)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _ipv4_inside(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return []


@dataclass(frozen=True, slots=True)
class HostRule:
    """A host the operator named, with one port or (None) with any."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> HostRule:
        """Read ``HOST`` or ``HOST:PORT``; an IPv6 address stands in brackets.

        Raises:
            ValueError: it is neither.
        """
        found = _RULE.fullmatch(text)
        port = int(found["port"]) if found and found["port"] else None
        if not found or (port is not None and not 0 < port < 65536):
            raise ValueError(f"{text!r} is not HOST or HOST:PORT (an IPv6 address in brackets)")
        return cls(_canonical(found["host"].strip("[]")), port)


@dataclass(frozen=True, slots=True)
class Destinations:
    """Checks where a request may go. ``allowed`` holds what ``--allow-predict-host`` named."""

    allowed: tuple[HostRule, ...] = ()

    @classmethod
    def parse(cls, hosts: Sequence[str]) -> Destinations:
        """Read the operator's list.

        Raises:
            ValueError: an entry is no host.
        """
        return cls(tuple(HostRule.parse(host) for host in hosts))

    def check_url(self, url: str) -> None:
        """Check a URL before a job is made of it; the job checks the address it connects to again.

        Raises:
            InputError: no http(s) URL with a host, or one that leads to an address that is not public.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in _SCHEMES or not host:
            raise InputError("predict_url must be an http:// or https:// URL with a host")
        self.addresses(host, port or _SCHEMES[parts.scheme])

    def names(self, host: str, port: int) -> bool:
        """Tell whether the operator named this host and port."""
        return any(rule.host == _canonical(host) and rule.port in (None, port) for rule in self.allowed)

    def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host once and give the addresses to connect to; [] for a named host without one here.

        All of them must be public: a name that also leads inside is a trap, whichever comes first.

        Raises:
            InputError: one is not public, and the operator has not named the host.
            Unresolved: there is none, and the operator has not named the host.
        """
        named = self.names(host, port)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            if named:
                return []
            raise Unresolved(f"predict_url: the host {host!r} does not resolve on this server") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not named and not all(is_public(ipaddress.ip_address(address)) for address in addresses):
            raise InputError(
                f"predict_url: the host {host!r} leads to an address that is not public, which this server "
                "does not call for a caller; its operator can allow it with --allow-predict-host"
            )
        return addresses


def _canonical(host: str) -> str:
    bare = host.rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        return bare.encode("idna").decode("ascii")
    except UnicodeError:
        return bare
