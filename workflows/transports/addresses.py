"""Which addresses a request to somebody else's system may go to: public ones, unless allowed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV4 = 4
# where clouds answer with credentials: nothing that is told of an invoice is to be sent there
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
    )
)
# IANA's special-purpose registries; spelled out, because Python's own list grows with its version
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
_UNICAST = ipaddress.ip_network("2000::/3")  # all that was ever given out of IPv6
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")  # RFC 5214: these four octets, then IPv4


def refusal(address: Address, allowed: Iterable[Network] = ()) -> str:
    """Return why nothing may be sent to an address; "" where it may.

    Refused are all that are not public: private, loopback, link-local, multicast, reserved and
    documentation ranges, IPv4 and IPv6, also where an IPv6 address holds such an IPv4 one (mapped,
    NAT64, 6to4, ISATAP); Teredo always. `allowed` are networks of which a person said that they
    may; metadata services, multicast and the unspecified address stay refused all the same.
    """
    inner = embedded(address)
    if inner is not None:
        return refusal(inner, allowed)
    if address in _METADATA:
        return f"{address} is a metadata service"
    if address.is_multicast or address.is_unspecified:
        return f"{address} is no host"
    if any(address in network for network in allowed):
        return ""
    public = address.is_global and (address.version == _IPV4 or address in _UNICAST)
    if not public or any(address in network for network in _SPECIAL):
        return f"{address} is not a public address"
    return ""


def embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 one would end at, or None."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or address.packed[8:12] in _ISATAP:
        return ipaddress.IPv4Address(address.packed[12:])
    return address.sixtofour
