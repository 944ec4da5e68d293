"""Which hosts are this machine."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether nothing that is sent to this host leaves the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_private_way(url: str) -> bool:
    """Whether nobody can listen on the way to a URL: over TLS, or on this machine alone."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_origin(url: str) -> bool:
    """Whether a URL is a scheme of HTTP, a host and perhaps a port, and nothing else."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and named and url == f"{parts.scheme}://{parts.netloc}"
