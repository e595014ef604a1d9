"""Which addresses an outgoing call may reach: global ones only, unless a network is allowed by
name.

A URL that somebody else chose (a callback, a media link) must not lead into our own network. The
check is made on the address that is really connected to; a check on the name would be undone by the
next DNS answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from ipaddress import IPv4Network as _V4

from protocols.errors import Malformed

Network = _V4 | IPv6Network

# IPv6 forms that carry an IPv4 address in their last 32 bits, which is where a packet would end up
# (RFC 6052).
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Read CIDR notation; host bits must be zero. Raises Malformed naming the first bad one."""
    found = []
    for cidr in cidrs:
        try:
            found.append(ip_network(cidr))
        except ValueError as error:
            raise Malformed(f"egress.allow: {str(error)[:100]}") from error
    return tuple(found)


def may_call(address: str, allow: Iterable[Network] = ()) -> bool:
    """Whether `address` (an IP literal) is global unicast or inside one of `allow`. False for
    what is no address.
    """
    try:
        target = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _inner(target)
    if any(one.version == network.version and one in network for network in allow for one in inner):
        return True
    return all(_is_global(one) for one in inner)


def _inner(target: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The addresses a packet to `target` may end up at: of tunnelled forms the one inside as
    well.
    """
    if isinstance(target, IPv4Address):
        return [target]
    if target.ipv4_mapped:
        return [target.ipv4_mapped]
    if target.sixtofour:
        return [target, target.sixtofour]
    if target.teredo:
        return [target, *target.teredo]
    if any(target in network for network in _NAT64):
        return [IPv4Address(int(target) & 0xFFFFFFFF)]
    return [target]


def _is_global(one: IPv4Address | IPv6Address) -> bool:
    return one.is_global and not one.is_multicast and not one.is_reserved and not one.is_unspecified
