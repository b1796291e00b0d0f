"""Which addresses are out on the Internet, and which this machine's, its neighbours' or its provider's."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.workflow.hosts import Rule

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_INNER = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"),
    )
)
_GLOBAL_SIX = ipaddress.ip_network("2000::/3")
_INNER_SIX = tuple(map(ipaddress.ip_network, ("2001::/23", "3fff::/20")))
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_METADATA = tuple(
    map(ipaddress.ip_network, ("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32"))
)


def is_public(text: str) -> bool:
    """Whether an address is reached through the Internet only, whatever IPv4 address it carries inside."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_four(address)
    if address.ipv4_mapped:
        return _is_public_four(address.ipv4_mapped)
    if address in _TRANSLATED:
        return _is_public_four(ipaddress.IPv4Address(address.packed[-4:]))
    if address not in _GLOBAL_SIX or any(address in net for net in _INNER_SIX):
        return False
    return address.is_global and (address.sixtofour is None or _is_public_four(address.sixtofour))


def refusal(text: str, rule: Rule) -> str:
    """Return why ``rule`` does not lead to an address, or nothing.

    ``private`` opens it, save link-local and metadata addresses: a rule must name such a one itself, since a
    name server could put it behind any name.
    """
    if is_public(text):
        return ""
    if not rule.private:
        return "not a public address"
    if text != rule.host and _is_unseen(ipaddress.ip_address(text)):
        return "an address that only a rule for the address itself may open"
    return ""


def _is_public_four(address: ipaddress.IPv4Address) -> bool:
    inner = any(address in net for net in _INNER)
    return address.is_global and not (inner or address.is_multicast or address.is_reserved)


def _is_unseen(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner or address in _TRANSLATED or address.packed[:12] == bytes(12):
            last = inner or ipaddress.IPv4Address(address.packed[-4:])
            return address != ipaddress.IPv6Address("::1") and _is_unseen(last)
    special = address.is_link_local or address.is_multicast or address.is_unspecified
    return special or any(address in net for net in _METADATA)
