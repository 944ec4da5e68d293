"""The machines that users sit at, by their IP addresses as services tell them."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from app.errors import Fault, InvalidInputError

MOST = 45
"""Characters of an address: those of an IPv6 address that ends in an IPv4 one."""
_IPV6 = 6
_LINE_BITS = 64
_NETWORK_BITS = 48


def machine(text: str, *, where: str = "client_ip") -> str:
    """The address in its one spelling. Raises InvalidInputError where it is none, or names a zone of some machine's own."""
    try:
        return str(_read(text))
    except ValueError:
        message = "is neither an IPv4 nor an IPv6 address without a zone"
        raise InvalidInputError("the request breaks a rule", [Fault(where, message)]) from None


def line(spelled: str) -> str:
    """What tries from there are counted under: an IPv6 address is one of 2^64 that a single line has (RFC 6177)."""
    return _around(spelled, _LINE_BITS) or spelled


def network(spelled: str) -> str | None:
    """The network that an IPv6 address is in, of the size that one site is given (RFC 6177); of an IPv4 address none."""
    return _around(spelled, _NETWORK_BITS)


def _around(spelled: str, bits: int) -> str | None:
    read = _read(spelled)
    return str(IPv6Network((int(read), bits), strict=False)) if read.version == _IPV6 else None


def _read(text: str) -> IPv4Address | IPv6Address:
    read = ip_address(text) if len(text) <= MOST else None
    if read is None or getattr(read, "scope_id", None):
        raise ValueError("no bare address")
    return getattr(read, "ipv4_mapped", None) or read
